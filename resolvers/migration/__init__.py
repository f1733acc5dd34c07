"""Migration from the services that Packshot replaces."""
