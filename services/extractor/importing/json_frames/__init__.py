"""JSON files with landmarks for each frame, in the layouts that people write them."""

from services.extractor.importing.json_frames.reader import KIND

__all__ = ["KIND"]
