"""`signet features`: a clip as the model sees it, as one page: its skeleton at rest and in motion, and its features."""
