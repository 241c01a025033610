"""Datasets: snapshots of clips, their splits and duplicates, and the manifest of a corpus."""
