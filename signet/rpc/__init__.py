"""gRPC: server, client, settings, health, limits, polling and GPU metrics."""
