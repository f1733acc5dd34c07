"""The context of one GraphQL request: caller, loaders, threads, budgets, live updates."""
