"""What all GraphQL types share: enums, scalars, interfaces, paging, refusals."""
