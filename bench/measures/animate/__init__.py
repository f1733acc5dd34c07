"""Bytes and CPU time of animated GIF variants, beside sharp."""
