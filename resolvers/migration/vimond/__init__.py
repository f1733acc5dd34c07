"""Migration from the image service: its documents, locations, packs and pictures."""
