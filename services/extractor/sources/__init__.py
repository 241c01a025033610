"""Where clips come from: WLASL, and selections of clips."""
