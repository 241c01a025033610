"""The network: encoder, heads, and how its weights are built and stored."""
