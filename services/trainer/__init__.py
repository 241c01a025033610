"""Landmark tensors to published checkpoints. The only part of Signet that imports torch; it never imports MediaPipe."""
