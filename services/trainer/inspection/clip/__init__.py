"""`signet features`: one page about a clip as the model sees it."""
