"""Where clips and landmarks come from: WLASL, archives of landmarks, selections of clips."""
