"""The network: encoder, heads, and how its weights are built, stored and loaded."""
