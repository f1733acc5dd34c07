"""Bytes and drawings in, bytes out: the only code that touches a codec."""
