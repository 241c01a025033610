"""Where the clips of an extraction are worked on, if not in processes of this machine."""
