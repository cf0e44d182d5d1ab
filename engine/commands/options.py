"""From settings to a verb's options and back: every flag with its range, default and ``NUCLEUS_*`` twin."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, Protocol, TypeVar, get_args, get_origin

import typer
from pydantic import BaseModel, ValidationError

from engine.commands.completion import model_names
from engine.commands.config import CONFIG_PARAMETER
from engine.contract.messages import to_invalid_request
from engine.settings import ENV_PREFIX, flag_of, is_port

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from pydantic.fields import FieldInfo

S = TypeVar("S", bound=BaseModel)
T_co = TypeVar("T_co", covariant=True)

_HIDDEN: dict[str, Any] = {"show_default": False, "show_envvar": False}
"""The help says the default in its own words, and once for all that each option has a variable."""
_SHORT_FLAGS = {"model": ("-m",)}
_COMPLETIONS = {"model": model_names}
_MOST_WORDS = 3
"""Words of a choice that stand in its metavar."""
_LIMITS = {"ge": "at least {}", "gt": "above {}", "le": "at most {}", "lt": "below {}"}


class OptionGroup(Protocol[T_co]):
    """Several options of a verb, of which one object is made."""

    def parameters(self) -> Iterator[inspect.Parameter]:
        """Yield what typer is to offer."""

    def parse(self, given: Mapping[str, Any]) -> T_co:
        """Return the object that the given options ask for; None stands for an option that is not given.

        Raises:
            InvalidRequestError: naming the flag, the limit and the value.
        """


class SettingsOptions(Generic[S]):
    """The fields of a pydantic model as options.

    Args:
        settings: The model.
        argument: The field that is positional, if one is.
        omit: Fields that the verb decides itself.
        panel: The heading in the help; empty: the usual one.
    """

    def __init__(
        self, settings: type[S], *, argument: str = "", omit: Collection[str] = (), panel: str = ""
    ) -> None:
        self._settings, self._argument, self._panel = settings, argument, panel
        self._fields = {name: field for name, field in settings.model_fields.items() if name not in omit}

    def parameters(self) -> Iterator[inspect.Parameter]:
        for name, field in self._fields.items():
            if name == self._argument:
                yield argument(name, help_of(field))
                continue
            is_switch = field.default is False
            yield option(
                name,
                bool if is_switch else str,
                metavar="" if is_switch else _metavar(field),
                help_=help_of(field),
                panel=self._panel,
            )

    def parse(self, given: Mapping[str, Any]) -> S:
        values = {name: given[name] for name in self._fields if given[name] is not None}
        try:
            return self._settings.model_validate(values)
        except ValidationError as error:
            raise to_invalid_request(error, spell=flag_of, param=flag_of, is_flat=True) from None


def takes(**groups: OptionGroup[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Replace parameters of a verb by the options of a group each; what a group makes of them is passed.

    >>> @takes(settings=SettingsOptions(ServeSettings, argument="model"))
    ... def serve(settings: ServeSettings) -> None: ...

    Raises:
        InvalidRequestError: when the verb is run, naming the flag, the limit and the value.
    """

    def wrap(verb: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(verb, eval_str=True).parameters.values()
        parameters = [kind.replace(kind=kind.KEYWORD_ONLY) for kind in own if kind.name not in groups]
        for group in groups.values():
            parameters.extend(group.parameters())
        parameters.append(CONFIG_PARAMETER)

        def run(**given: Any) -> None:
            objects = {name: group.parse(given) for name, group in groups.items()}
            verb(**objects, **{kind.name: given[kind.name] for kind in own if kind.name not in groups})

        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__name__, run.__doc__ = verb.__name__, verb.__doc__
        return run

    return wrap


def argument(name: str, help_: str) -> inspect.Parameter:
    """Return a positional parameter, which may be left out."""
    declared = typer.Argument(
        metavar=name.upper(),
        help=help_,
        envvar=twin_of(name),
        autocompletion=_COMPLETIONS.get(name),
        **_HIDDEN,
    )
    return _parameter(name, str | None, declared)


def option(name: str, kind: type, *, metavar: str, help_: str, panel: str) -> inspect.Parameter:
    """Return one option. Its value arrives as text: pydantic converts it, for a message of our own.

    Args:
        name: The field's name, from which those of the flag and the variable follow.
        kind: str, bool for a switch, list[str] for one that may be given several times.
        metavar: What stands for the value in the help.
        help_: What it means, with its range and its default.
        panel: The heading in the help; empty: the usual one.
    """
    flags = [flag_of(name), *_SHORT_FLAGS.get(name, ())]
    declared = typer.Option(
        *flags,
        metavar=metavar,
        help=help_,
        envvar=twin_of(name),
        rich_help_panel=panel or None,
        autocompletion=_COMPLETIONS.get(name),
        **_HIDDEN,
    )
    return _parameter(
        name, kind if kind is bool else kind | None, declared, default=False if kind is bool else None
    )


def _parameter(name: str, kind: Any, declared: Any, *, default: Any = None) -> inspect.Parameter:
    annotation = Annotated[kind, declared]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def twin_of(name: str) -> str:
    """Return the variable of the environment that says the same as an option."""
    return ENV_PREFIX + name.upper()


def help_of(field: FieldInfo, *, text: str | None = None, default: Any = None) -> str:
    """Return a field's description with its range and its default.

    Args:
        field: The field.
        text: Another description; None: the field's.
        default: Another default; None: the field's.
    """
    text = text or str(field.description)
    notes = list(_range(field))
    default = field.default if default is None else default
    if not field.is_required() and default is not False and default not in (None, [], {}, ""):
        notes.append(f"default: {_shown(default)}")
    return f"{text} ({'; '.join(notes)})" if notes else text


def _range(field: FieldInfo) -> Iterator[str]:
    limits = {name: getattr(rule, name) for rule in field.metadata for name in _LIMITS if hasattr(rule, name)}
    if {"ge", "le"} <= limits.keys() and max(map(abs, limits.values())) < 1 << 31:
        yield f"{limits['ge']} to {limits['le']}"
        return
    for name, limit in limits.items():
        if abs(limit) < 1 << 31:
            yield _LIMITS[name].format(limit)


def _shown(default: Any) -> str:
    if isinstance(default, bool):
        return "on" if default else "off"
    return str(default)


def _metavar(field: FieldInfo) -> str:
    if is_port(field):
        return "PORT"
    if field.annotation is bool:
        return "on|off"
    if get_origin(field.annotation) is Literal and len(get_args(field.annotation)) <= _MOST_WORDS:
        return "|".join(map(str, get_args(field.annotation)))
    return "N" if any(kind in str(field.annotation) for kind in ("int", "float")) else "TEXT"
