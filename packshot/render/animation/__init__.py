"""Animations: decode frame by frame, and write animated GIF."""
