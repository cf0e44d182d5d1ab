"""What a server can be told: every setting with its range and its default, once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from engine.contract.messages import abbreviate, contract_error
from engine.loading.options import EngineOptions

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

ENV_PREFIX = "NUCLEUS_"


def _parts(value: object) -> object:
    """Return the parts of a text that commas separate."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _port(value: object) -> object:
    """Return a port as a number, and ``unix:/path`` as it is."""
    if isinstance(value, str):
        if value.startswith("unix:/"):
            return value
        value = int(value) if value.isascii() and value.isdecimal() and len(value) < 6 else value
    if not isinstance(value, int) or not 0 <= value <= 65535:
        raise contract_error(f"should be a port from 0 to 65535, or unix:/path, not {abbreviate(value)}")
    return value


List = Annotated[list[Annotated[str, Field(min_length=1)]], BeforeValidator(_parts)]
Port = Annotated[int | str, BeforeValidator(_port)]


class ServeSettings(EngineOptions):
    """Everything that ``nucleus serve`` can be told."""

    host: str = Field("127.0.0.1", min_length=1, description="Address to listen on.")
    http_port: Port = Field(
        8000, description="Port of the HTTP door; 0 takes a free one, unix:/path a Unix socket."
    )
    grpc_port: Port = Field(50051, description="The same for the gRPC door.")
    socket_mode: str = Field(
        "600", pattern="^[0-7]{3}$", description="Permissions of Unix sockets, in octal."
    )
    api_key: List | None = Field(
        None,
        repr=False,
        description="Key that clients must send; several are separated by commas. Others on this machine see "
        "it in the list of processes: use NUCLEUS_API_KEY or --api-key-file.",
    )
    api_key_file: Path | None = Field(None, description="File with one key a line; # begins a comment.")
    allow_unauthenticated: bool = Field(
        False, description="Listen beyond this machine without a key, and without a warning."
    )
    allowed_host: List = Field(
        [],
        description="Names, separated by commas, that clients without a key may know the server by, besides "
        "localhost and --host; * is any.",
    )
    cors_origin: List = Field(
        [],
        description="Origins, separated by commas, whose web pages may call the server, such as "
        "https://app.example; * is any.",
    )
    tls_cert: Path | None = Field(None, description="PEM file of a certificate, for both doors.")
    tls_key: Path | None = Field(None, description="PEM file of its private key.")
    tls_client_ca: Path | None = Field(
        None, description="PEM file of the authorities that sign the certificates clients of gRPC must have."
    )
    max_connections: int = Field(8192, ge=1, description="HTTP connections beyond which 503 is answered.")
    shutdown_grace: float = Field(
        20.0, ge=0, le=86400, description="Seconds that running requests have after a signal."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="What is logged.")
    log_format: Literal["text", "json"] = Field(
        "text", description="Lines of text, or a JSON object in each line, the lines of the start included."
    )
    log_prompts: bool = Field(
        False, description="Log what is asked, too; whoever can read the log can then read the prompts."
    )

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.api_key == []:
            raise contract_error("api_key: should hold at least one key")
        if (self.tls_cert is None) != (self.tls_key is None):
            given, missing = ("tls_cert", "tls_key")[:: 1 if self.tls_cert else -1]
            raise contract_error(f"{missing}: is required together with {flag_of(given)}")
        if self.tls_client_ca is not None and self.tls_cert is None:
            raise contract_error("tls_cert: is required together with --tls-client-ca")
        return self


def flag_of(name: str) -> str:
    """Return the flag that sets a field."""
    return "--" + name.replace("_", "-")


def is_port(field: FieldInfo) -> bool:
    """Return True for a field that takes a port or a Unix socket."""
    return _port in (getattr(rule, "func", None) for rule in field.metadata)
