"""Streams of pictures: each stream is decoded and tracked in a process of its own."""
