"""Rendering ahead of time: the queue rings, the database decides."""
