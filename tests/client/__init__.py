"""The clients whose streams outlive a server."""
