"""Remove metadata from originals without encoding them again."""
