"""One module a step of the history."""
