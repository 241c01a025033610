"""Reads the pickles of AI4Bharat's OpenHands: one file for each clip."""

from services.extractor.importing.openhands.folder import KIND

__all__ = ["KIND"]
