"""The two doors on the network: HTTP and gRPC over one service."""
