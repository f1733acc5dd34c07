"""Render processes: the pool, its queue, and the rights that each process gives up."""
