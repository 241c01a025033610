"""TLS, bearer tokens with permissions and rate limits, credentials of clients, and signatures of models."""
