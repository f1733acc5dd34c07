"""Decode originals and render variants: the only code that calls codecs."""
