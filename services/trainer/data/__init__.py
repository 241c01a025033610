"""Training data: snapshots, the check for enough clips, batches and augmentation."""
