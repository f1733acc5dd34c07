"""Background services of a process: threads that repeat one step."""
