"""Servers of the completions contract beside each other; run with ``make bench-serving``."""
