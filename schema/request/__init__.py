"""What one GraphQL request works with: the caller, loaders, threads, budgets, live updates."""
