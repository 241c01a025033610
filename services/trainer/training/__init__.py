"""The training loop, its losses, optimizer, schedule, validation and state."""
