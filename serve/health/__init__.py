"""Readiness, and the checks that `packshot doctor` shows."""
