"""Answering requests: the served model, batch_indices, recognition and video."""
