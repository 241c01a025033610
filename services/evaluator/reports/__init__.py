"""Accuracy reports: evaluation, figures, caveats and the stored report."""
