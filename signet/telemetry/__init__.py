"""What makes the work of several services on one call visible: the id of a call, and traces."""
