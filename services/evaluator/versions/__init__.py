"""The versions of models in memory, and which of them answers a call."""
