"""Generated from ``proto/`` by ``make proto``; needs nothing but grpcio and protobuf."""

from engine.extras import check

check("engine.pb", "client", "google.protobuf", "grpc")
