"""Statistics of results: counts, intervals, calibration and gloss errors."""
