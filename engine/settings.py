"""What the command takes: every flag with its range, its default and its ``NUCLEUS_*`` twin, once."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer
from pydantic import BaseModel, Field, ValidationError

from engine.contract.messages import to_invalid_request
from engine.loading.options import EngineOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pydantic.fields import FieldInfo

ENV_PREFIX = "NUCLEUS_"


class ServeSettings(EngineOptions):
    """Everything that ``nucleus serve`` can be told."""

    host: str = Field("127.0.0.1", min_length=1, description="Address to listen on.")
    http_port: int = Field(8000, ge=0, le=65535, description="Port of the HTTP door; 0 takes a free one.")
    grpc_port: int = Field(50051, ge=0, le=65535, description="Port of the gRPC door; 0 takes a free one.")
    api_key: str | None = Field(
        None, repr=False, description="Key that clients must send; several are separated by commas."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="What is logged.")


class CompleteSettings(EngineOptions):
    """Everything that ``nucleus complete`` can be told; the contract checks what goes into the request."""

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
    default = f"  (default: {field.default})" if optional and field.default is not None else ""
    shared: dict[str, Any] = {"help": f"{field.description}{default}", "show_default": False}
    if optional:
        shared["envvar"] = ENV_PREFIX + name.upper()
    declared = (
        typer.Argument(metavar=name.upper(), **shared)
        if positional
        else typer.Option(_flag(name), metavar=_metavar(field), **shared)
    )
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None if optional else inspect.Parameter.empty,
        annotation=Annotated[str | None if optional else str, declared],
    )


def _metavar(field: FieldInfo) -> str:
    return "N" if any(kind in str(field.annotation) for kind in ("int", "float")) else "TEXT"
