"""Decode animations frame by frame, and write animated GIF."""
