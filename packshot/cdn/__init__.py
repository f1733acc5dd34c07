"""Purgers: how copies in a CDN are removed by their tags. They know no rows and no pictures."""
