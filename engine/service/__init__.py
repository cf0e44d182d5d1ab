"""What happens to a request between a door and the engine."""
