"""Shared parts of all GraphQL types: enums, scalars, interfaces, paging, refusals."""
