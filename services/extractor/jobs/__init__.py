"""Extraction jobs: worker processes, a queue, progress and statistics."""
