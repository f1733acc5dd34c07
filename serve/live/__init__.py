"""Live resize: serves images by name and size in one path segment, and takes their uploads with a token."""
