"""GraphQL object types, one module for each noun."""
