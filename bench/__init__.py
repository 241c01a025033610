"""Benchmarks: each module measures one table of the documentation."""
