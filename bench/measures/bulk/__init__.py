"""The measurements of `bench/bulk`, one module for each."""
