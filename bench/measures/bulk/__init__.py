"""What `bench/bulk` measures: one module a question."""
