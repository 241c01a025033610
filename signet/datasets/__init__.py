"""Datasets: snapshots, splits, the duplicate audit and the state of a corpus."""
