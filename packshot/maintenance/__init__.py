"""Collect, scrub and erase stored objects, in portions of which one bad item stops nothing."""
