"""From a model's name to a running service."""
