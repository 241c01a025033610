"""The network: recogniser, heads, and how its weights are built and stored."""
