"""`signet fetch`: downloads the clips of WLASL from the addresses in its metadata."""
