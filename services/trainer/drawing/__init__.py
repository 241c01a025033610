"""Drawings for HTML pages and files: training curves, SVG elements and the page templates."""
