"""One script per question, peers measured side by side; tables go to docs/benchmarks.md."""
