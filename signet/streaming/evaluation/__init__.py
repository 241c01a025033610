"""How well streams are recognised: sequences made from clips, what a stream finds in them, and its errors."""
