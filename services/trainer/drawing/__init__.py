"""Figures for HTML pages and reports: curves, strips, SVG and the page template."""
