"""Plain values, from whichever door, made into requests of the contract."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError

from engine.contract.chat import ChatRequest
from engine.contract.messages import abbreviate, to_invalid_request
from engine.contract.requests import CompletionRequest
from engine.errors import InvalidRequestError

if TYPE_CHECKING:
    from engine.contract.fields import GenerationRequest
    from engine.contract.limits import Limits
    from engine.contract.validators import StrictModel

log = logging.getLogger("nucleus.contract")

R = TypeVar("R", bound="StrictModel")
G = TypeVar("G", bound="GenerationRequest")
_other_names = {"repeat_penalty"}
_logged_fields: set[str] = set()


def parse_request(fields: Any, limits: Limits) -> CompletionRequest:
    """Make a request of plain Python values.

    Args:
        fields: What a door read: a mapping of field names to numbers, strings, lists and mappings.
        limits: What this server allows.

    Raises:
        InvalidRequestError: naming the first field at fault, its limit and its value.
    """
    return _parse_generation(CompletionRequest, fields, limits)


def parse_chat(fields: Any, limits: Limits) -> ChatRequest:
    """Make a request for a chat's next message of plain Python values, as :func:`parse_request` does.

    Args:
        fields: What a door read.
        limits: What this server allows.

    Raises:
        InvalidRequestError: naming the first field at fault, its limit and its value.
    """
    return _parse_generation(ChatRequest, fields, limits)


def _parse_generation(kind: type[G], fields: Any, limits: Limits) -> G:
    if isinstance(fields, Mapping):
        kind.unsupported.check(fields)
    request = parse_fields(kind, fields)
    request.check(limits)
    return request


def parse_fields(kind: type[R], fields: Any) -> R:
    """Make a request of whatever kind of plain Python values.

    Raises:
        InvalidRequestError: naming the first field at fault, its limit and its value.
    """
    if not isinstance(fields, Mapping):
        raise InvalidRequestError(f"The request should be an object, not {abbreviate(fields)}.")
    try:
        request = kind.model_validate(fields)
    except ValidationError as error:
        raise to_invalid_request(error) from None
    _log_unknown(fields.keys() - kind.model_fields)
    return request


def _log_unknown(names: set[str]) -> None:
    for name in names - _other_names - _logged_fields:
        if len(_logged_fields) < 100:  # a client that makes up names must not fill the memory
            _logged_fields.add(name)
            log.warning("ignoring the unknown field %.80r; said once", name)
