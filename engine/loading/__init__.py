"""From a model file to a running service."""
