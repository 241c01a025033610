"""Recognition of continuous signing: streams of frames, and videos in chunks."""
