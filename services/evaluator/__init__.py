"""Published checkpoints to predictions and reports. Imports neither torch nor MediaPipe."""
