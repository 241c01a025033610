"""Statistics of results: intervals, calibration and gloss errors."""
