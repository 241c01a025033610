"""Measures whole commands of `signet`, as a person calls them."""
