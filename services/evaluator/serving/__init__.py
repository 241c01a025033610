"""Answering requests: the served model, batches, recognition and video."""
