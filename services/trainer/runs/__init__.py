"""Runs: the members of a training, their processes, checkpoints, events and published result."""
