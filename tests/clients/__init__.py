"""Clients that nobody here wrote, against a running server."""

KEY = "sk-xxxx"
"""The key that opens it."""
