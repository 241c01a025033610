"""Accuracy reports as HTML pages."""
