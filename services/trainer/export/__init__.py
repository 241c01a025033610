"""Trained models to ONNX, and published models back."""
