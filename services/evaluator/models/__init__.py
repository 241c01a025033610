"""Published models for people and for other programs: `signet models`, and the gRPC service `Registry`."""
