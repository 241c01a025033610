"""Signet's three services, the command line that mounts them, and the local stack that runs them."""
