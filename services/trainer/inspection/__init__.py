"""`signet analyze` and `signet features`: pages about a run and about a clip."""
