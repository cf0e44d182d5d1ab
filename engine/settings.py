"""What the command takes: every flag with its range, its default and its ``NUCLEUS_*`` twin, once."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeVar

import typer
from pydantic import BaseModel, BeforeValidator, Field, ValidationError, model_validator

from engine.contract.messages import abbreviate, contract_error, to_invalid_request
from engine.loading.options import MAX_PARALLEL, EngineOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

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

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.api_key == []:
            raise contract_error("api_key: should hold at least one key")
        if (self.tls_cert is None) != (self.tls_key is None):
            given, missing = ("tls_cert", "tls_key")[:: 1 if self.tls_cert else -1]
            raise contract_error(f"{missing}: is required together with {_flag(given)}")
        if self.tls_client_ca is not None and self.tls_cert is None:
            raise contract_error("tls_cert: is required together with --tls-client-ca")
        return self


class CompleteSettings(EngineOptions):
    """Everything that ``nucleus complete`` can be told; the contract checks what goes into the request."""

    parallel: int = Field(1, ge=1, le=MAX_PARALLEL, description="Sequences that are generated at once.")
    prompt: str = Field(description="The text to continue.")
    max_tokens: int = Field(128, description="Most tokens to generate.")
    temperature: float = Field(1.0, description="0 always takes the most probable token.")
    top_p: float = Field(1.0, description="Mass of the nucleus that is drawn from.")
    seed: int | None = Field(None, description="Repeats the same draws.")


S = TypeVar("S", bound=BaseModel)


def takes(settings: type[S], *, argument: str) -> Callable[[Callable[[S], None]], Callable[..., None]]:
    """Give a command one option for each field of ``settings``; the field ``argument`` is positional.

    The command is called with the checked settings.

    Raises:
        InvalidRequestError: when the command is run, naming the flag, the limit and the value.
    """
    fields = settings.model_fields.items()
    parameters = [_parameter(name, field, positional=name == argument) for name, field in fields]

    def wrap(command: Callable[[S], None]) -> Callable[..., None]:
        def run(**given: str | None) -> None:
            command(_parse(settings, given))

        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__name__, run.__doc__ = command.__name__, command.__doc__
        return run

    return wrap


def _parse(settings: type[S], given: Mapping[str, str | None]) -> S:
    try:
        return settings.model_validate({name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        raise to_invalid_request(error, spell=_flag, param=_flag, is_flat=True) from None


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _parameter(name: str, field: FieldInfo, *, positional: bool) -> inspect.Parameter:
    """Every value arrives as a string: pydantic converts and checks it, for a message of our own."""
    optional = not field.is_required()
    is_switch = field.default is False
    has_default = optional and field.default not in (None, []) and not is_switch
    default = f"  (default: {field.default})" if has_default else ""
    shared: dict[str, Any] = {"help": f"{field.description}{default}", "show_default": False}
    if optional:
        shared["envvar"] = ENV_PREFIX + name.upper()
    declared = (
        typer.Argument(metavar=name.upper(), **shared)
        if positional
        else typer.Option(_flag(name), metavar=None if is_switch else _metavar(field), **shared)
    )
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=False if is_switch else None if optional else inspect.Parameter.empty,
        annotation=Annotated[bool if is_switch else str | None if optional else str, declared],
    )


def _metavar(field: FieldInfo) -> str:
    if _port in (getattr(rule, "func", None) for rule in field.metadata):
        return "PORT"
    return "N" if any(kind in str(field.annotation) for kind in ("int", "float")) else "TEXT"
