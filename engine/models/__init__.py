"""Model files: their names, what their headers say, the hub, and its cache."""
