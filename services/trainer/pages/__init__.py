"""What the pages for people have in common: their look, their drawings, and what is said of a clip frame by frame."""
