"""Protocol buffers, generated from ``proto/`` by ``make proto``."""
