"""Recognition on this machine alone: no server, no store and no training. `predict`, `transcribe` and `live`."""
