"""The fields of a request as options: the contract's own names, ranges and words."""

from __future__ import annotations

import json
import types
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin

from pydantic import ValidationError

from engine.commands.options import help_of, option
from engine.contract.forms import FormFields
from engine.contract.messages import abbreviate, to_invalid_request
from engine.errors import InvalidRequestError
from engine.settings import flag_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping
    from inspect import Parameter

    from pydantic.fields import FieldInfo

    from engine.contract.fields import GenerationRequest

_NOT_TYPED = frozenset(
    {"model", "prompt", "messages", "stream", "stream_options", "user", "resume_token_ids"}
    | {"guided_json", "guided_grammar", "guided_json_object"}  # there is another name for each
)
_SHORT_NAMES = {"guided_regex": "regex", "guided_choice": "choice"}
_HELP = {
    "json_schema": "JSON that is valid by this schema.",
    "grammar": "A text of this grammar, in Lark's syntax or in GBNF.",
    "guided_regex": "A text that this regular expression matches as a whole.",
    "guided_choice": "One of the given texts.",
}
"""What the contract explains by another field's name."""
_METAVARS: dict[type, str] = {int: "N", float: "N", str: "TEXT", dict: "JSON"}


class RequestOptions:
    """The fields of a request as options of a verb; :meth:`parse` returns keyword arguments for a call.

    Args:
        request: The request, whose validators check the values.
        stand_in: The fields that the verb fills later, with values that are valid.
        omit: Fields that the verb decides itself.
        defaults: What a field is for this verb if it is not given.
    """

    def __init__(
        self,
        request: type[GenerationRequest],
        *,
        stand_in: Mapping[str, Any],
        omit: Collection[str] = (),
        defaults: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self._request, self._stand_in = request, {"model": "model", **stand_in}
        fields = request.model_fields
        names = [*(name for name in fields if name in request.__annotations__), *fields]
        self._fields = {name: fields[name] for name in names if name not in {*omit, *_NOT_TYPED}}
        self._defaults = dict(defaults)

    def parameters(self) -> Iterator[Parameter]:
        for is_form, panel in ((False, "Request"), (True, "Form of the answer")):
            for name, field in self._fields.items():
                if (name in FormFields.model_fields) == is_form:
                    yield self._parameter(name, field, panel)

    def _parameter(self, name: str, field: FieldInfo, panel: str) -> Parameter:
        help_ = help_of(field, text=_HELP.get(name), default=self._defaults.get(name))
        kind = _kind(field)
        takes_file = name in FormFields.model_fields and kind is not list
        return option(
            _short(name),
            bool if kind is bool else list[str] if kind is list else str,
            metavar="" if kind is bool else _METAVARS[_kind_of_items(field) if kind is list else kind],
            help_=help_ + " Several times for several." * (kind is list) + " @FILE reads it." * takes_file,
            panel=panel,
        )

    def parse(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields that are given, valid together.

        Raises:
            InvalidRequestError: naming the flag, the limit and the value.
        """
        values = self._defaults | {
            name: _value(name, field, given[_short(name)])
            for name, field in self._fields.items()
            if given[_short(name)] not in (None, False, [])
        }
        try:
            self._request.model_validate({**self._stand_in, **values})
        except ValidationError as error:
            refusal = to_invalid_request(error, spell=_flag, param=_flag)
            message = refusal.message
            for name in _SHORT_NAMES:
                message = message.replace(f"'{name}'", _flag(name))
            raise InvalidRequestError(message, param=refusal.param) from None
        return values


def _short(name: str) -> str:
    return _SHORT_NAMES.get(name, name)


def _flag(name: str) -> str:
    return flag_of(_short(name))


def _kind(field: FieldInfo) -> type:
    """Return what a field's values are on the command line: bool, int, float, str, list, or dict for JSON."""
    kind = _bare(field.annotation)
    if kind in (bool, int, float, str, list):
        return kind
    return dict


def _kind_of_items(field: FieldInfo) -> type:
    (item,) = next(get_args(part) for part in _parts(field.annotation) if get_origin(part) is list)
    return int if _bare(getattr(item, "__value__", item)) is int else str


def _bare(annotation: Any) -> type:
    """Return a type without its rules, and without None."""
    part = next(_parts(annotation))
    bare: type = get_origin(part) or part
    return bare


def _parts(annotation: Any) -> Iterator[Any]:
    """Yield the types of a union, None left out, each without its rules."""
    if get_origin(annotation) is Annotated:
        yield from _parts(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, types.UnionType):
        for part in get_args(annotation):
            yield from _parts(part)
    elif annotation is not type(None):
        yield annotation


def _value(name: str, field: FieldInfo, text: Any) -> Any:
    kind = _kind(field)
    if kind is bool:
        return True
    if kind is list:
        is_number = _kind_of_items(field) is int
        return [_number(name, item, int) if is_number else item for item in text]
    if kind in (int, float):
        return _number(name, text, kind)
    if name in FormFields.model_fields or kind is dict:
        text = _from_file(name, text)
    return _json(name, text) if kind is dict else text


def _number(name: str, text: str, kind: Callable[[str], Any]) -> Any:
    try:
        return kind(text)
    except ValueError:
        what = "an integer" if kind is int else "a number"
        raise InvalidRequestError(
            f"{_flag(name)} should be {what}, not {abbreviate(text)}.", param=_flag(name)
        ) from None


def _json(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidRequestError(
            f"{_flag(name)} should be JSON, or @FILE with JSON, not {abbreviate(text)}: {error}.",
            param=_flag(name),
        ) from None


def _from_file(name: str, text: str) -> str:
    """Return the text, or what is in the file that ``@FILE`` names."""
    if not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InvalidRequestError(
            f"{_flag(name)}: {text[1:]} is not UTF-8: {error}.", param=_flag(name)
        ) from None
