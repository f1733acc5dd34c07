"""How operations run: limits, cost, charges, scopes, visibility, masked errors."""
