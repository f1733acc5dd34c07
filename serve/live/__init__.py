"""Live resize: images by name and size in one path segment, and their upload with a token."""
