"""What an operator is told of a server: which versions it is made of, and how it is."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from engine.contract.responses import Answer, Count


class ModelVersion(Answer):
    """The model that a server serves."""

    id: str = Field(description="The name to ask for it by.")
    description: str = Field(description="What its file says of architecture, size and types of weights.")
    bytes: Count = Field(description="Bytes of its weights.")


class GrpcAddress(Answer):
    """Where the gRPC door of a server is, on the host that this answer came from."""

    port: int | None = Field(description="Its port; null where it listens at a Unix socket.")
    path: str | None = Field(description="The file of its Unix socket; null where it listens at a port.")
    tls: bool
    client_certificate: bool = Field(description="Whether it asks its clients for certificates.")


class ServerVersion(Answer):
    """Which versions a server is made of, and where its other door is."""

    version: str = Field(description="Of Nucleus.")
    python: str
    llama_cpp_python: str | None = Field(description="Of the package that brings llama.cpp; null without it.")
    features: list[str] = Field(
        description="What llama.cpp was built with.", examples=[["CPU", "AVX2", "FMA", "OPENMP"]]
    )
    model: ModelVersion
    grpc: GrpcAddress | None = Field(description="Its gRPC door; null where there is none.")


class HealthReport(Answer):
    """How a server is, for its operator; null is what is not known here."""

    status: Literal["ok", "dead"] = Field(description="`dead`, with 503, once the engine has stopped.")
    ready: bool = Field(description="Whether new requests are taken.")
    draining: bool = Field(description="Whether a signal has come, and what runs is finished.")
    stalled_seconds: float = Field(
        description="Seconds since the last step of the model ended, while requests wait or run; 0 without."
    )
    requests_unfinished: Count = Field(description="Requests that wait or run.")
    sequences_running: Count = Field(description="Choices that have a slot.")
    sequences_waiting: Count = Field(description="Choices that wait for one.")
    kv_cells: Count = Field(description="Tokens that the KV cache holds.")
    kv_cells_free: Count = Field(description="Tokens for which it has room.")
    memory_bytes: int | None = Field(description="Resident memory of the process, mapped weights included.")
    http_connections: int | None = Field(description="Connections that are open to the HTTP door.")
