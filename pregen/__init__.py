"""Rendering ahead of time: Dramatiq rings, the ledger decides."""
