"""Decode originals to 8-bit images."""
