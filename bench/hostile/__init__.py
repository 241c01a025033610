"""Attacks on real services, and what they need: hostile calls, videos, objects of the store, and programs."""
