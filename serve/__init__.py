"""The edge: HTTP in Starlette, and the command line."""
