"""Work as rows of tables: orders, jobs and their items, URL imports, erasures."""
