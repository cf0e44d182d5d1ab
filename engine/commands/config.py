"""The file ``nucleus.toml``: what is not given on the command line or in the environment.

Its keys are the names of the flags, ``http-port`` or ``http_port``. A key at the top holds for every verb
that has the flag; a key in a table named after a verb, ``[serve]``, for that verb alone, and goes before.
"""

from __future__ import annotations

import inspect
import json
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.errors import InvalidRequestError
from engine.loading.options import meant
from engine.settings import ENV_PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def use_config(context: typer.Context, path: Path | None) -> Path | None:
    """Make the file's values the defaults of a verb; options that are given still go before them.

    Raises:
        InvalidRequestError: naming the file and the key.
        OSError: the file cannot be read.
    """
    if path is None or context.resilient_parsing:
        return path
    verb, values, flags = str(context.info_name), _read(path), _flags(context)
    tables = {name: values.pop(name) for name in flags if name in values}
    _check(path, values, {name for known in flags.values() for name in known}, where="at the top")
    chosen = {name: value for name, value in values.items() if name in flags[verb]}
    for name, given in tables.items():
        if not isinstance(given, dict):
            raise InvalidRequestError(f"{path}: {name!r} is a verb, so it should be a table, [{name}].")
        table = _with_underscores(given)
        _check(path, table, flags[name], where=f"in [{name}]")
        if name == verb:
            chosen |= table
    context.default_map = {name: _as_option(value, flags[verb][name]) for name, value in chosen.items()}
    return path


CONFIG_PARAMETER = inspect.Parameter(
    "config",
    inspect.Parameter.KEYWORD_ONLY,
    default=None,
    annotation=Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="FILE",
            is_eager=True,
            callback=use_config,
            envvar=f"{ENV_PREFIX}CONFIG",
            help="TOML file with values for these options, by the same names. Each may also be a variable of "
            "the environment, as NUCLEUS_CTX_SIZE.",
            show_default=False,
            show_envvar=False,
        ),
    ],
)


def _flags(context: typer.Context) -> dict[str, dict[str, Any]]:
    """Return what each verb takes: its parameters by name."""
    verbs = getattr(getattr(context.parent, "command", None), "commands", None)
    verbs = verbs or {str(context.info_name): context.command}
    return {name: {kind.name: kind for kind in verb.params} for name, verb in verbs.items()}


def _read(path: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidRequestError(f"{path} is not TOML: {error}.", param="--config") from None
    return _with_underscores(values)


def _with_underscores(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name.replace("-", "_"): value for name, value in values.items()}


def _check(path: Path, values: Mapping[str, Any], known: Iterable[str], *, where: str) -> None:
    known = set(known) - {"config"}
    for name in values.keys() - known:
        near = meant(name, known)
        guess = f" Did you mean {near!r}?" if near else ""
        raise InvalidRequestError(f"{path}: {name!r} {where} is no option.{guess}", param="--config")


def _as_option(value: Any, kind: Any) -> Any:
    """Return a TOML value as an option takes it: text, texts, or a switch."""
    if isinstance(value, list) and kind.multiple:
        return [_as_text(item) for item in value]
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ",".join(value)
    return value if isinstance(value, bool) and kind.is_flag else _as_text(value)


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
