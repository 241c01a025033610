"""Enrolment: new signs from a few examples, without training, as a new version of a published model."""
