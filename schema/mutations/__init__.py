"""GraphQL mutations, one module for each noun."""
