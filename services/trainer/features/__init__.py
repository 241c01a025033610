"""Landmarks to phonological features, and their names."""
