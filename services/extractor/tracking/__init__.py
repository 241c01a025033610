"""Frames to landmarks: the MediaPipe graph."""
