"""Measured claims: each module prints one table, and can be run by anyone."""
