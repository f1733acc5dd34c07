"""Purgers: they remove copies from a CDN by their tags. They know neither database nor images."""
