"""Render a decoded original to the bytes of variants: resample, place, finish, encode."""
