"""Video to landmark tensors. The only part of Signet that imports MediaPipe; it never imports torch."""
