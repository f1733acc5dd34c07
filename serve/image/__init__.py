"""The image endpoints: stable and immutable URLs, `picture.json`, and rendering on demand."""
