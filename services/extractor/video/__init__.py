"""Video files to frames: containers are checked, frames are decoded."""
