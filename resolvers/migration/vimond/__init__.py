"""Migration from the Vimond image service: its documents, locations, packs and images."""
