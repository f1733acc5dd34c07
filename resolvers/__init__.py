"""Use cases: what the API and the command line do, as functions over the catalog, the stores and the renderer."""
