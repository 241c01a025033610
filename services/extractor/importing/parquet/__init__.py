"""Reads parquet files in the layout of Kaggle's "Google - Isolated Sign Language Recognition" (asl-signs)."""

from services.extractor.importing.parquet.competition import KIND

__all__ = ["KIND"]
