"""How operations are executed: limits, cost, budgets, scopes, visibility, masked errors."""
