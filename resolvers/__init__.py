"""What each field does, as plain functions over the catalog, the stores and the renderer."""
