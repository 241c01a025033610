"""MediaPipe's networks, converted to ONNX and run by ONNX Runtime."""
