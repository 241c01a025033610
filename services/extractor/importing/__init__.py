"""Landmarks that others made: one module reads each kind of file, and `importer` stores the clips."""
