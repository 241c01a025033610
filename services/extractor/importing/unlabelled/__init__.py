"""Recordings whose files say little: sides, units, frame rate, copies and splits are derived or assumed, and said."""
