"""Training data: snapshots, batches, augmentation and the ranking of glosses."""
