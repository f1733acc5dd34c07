"""Bring packs' planned variants up to date."""
