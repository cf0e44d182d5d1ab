"""Engines on clusters that exist already, one module a kind."""
