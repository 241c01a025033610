"""Reads `.pose` files, the format of sign-language-processing/pose."""

from services.extractor.importing.pose_format.folder import KIND

__all__ = ["KIND"]
