"""Clients in trouble, and clients that make trouble, for the real server."""
