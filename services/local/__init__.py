"""The whole system on one machine: a store, the three services, and the demo."""
