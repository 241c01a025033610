"""Own videos: a folder for each gloss, or a table that lists the clips."""
