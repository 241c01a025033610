"""Trained models to ONNX graphs, and the check that a graph gives the same answers."""
