"""Access policies, signatures of image URLs, and secrets that the database keeps encrypted."""
