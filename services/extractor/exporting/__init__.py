"""Writes the landmarks of a corpus as files that other programs read: one module writes each format."""
