"""Training data: snapshots, the members of a run, the check for enough clips, batches and augmentation."""
