"""Render processes: the pool, its lanes, and the confinement of each process."""
