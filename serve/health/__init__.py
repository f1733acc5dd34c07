"""Readiness, and the checks of `packshot doctor`."""
