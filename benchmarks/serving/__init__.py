"""Servers of the completions contract beside each other; run with ``python -m benchmarks.serving``."""
