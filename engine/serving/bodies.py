"""The body of a request over HTTP: JSON, of a limited size."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from pydantic_core import from_json

from engine.errors import InvalidRequestError, RequestTooLargeError, UnsupportedMediaTypeError

if TYPE_CHECKING:
    from fastapi import Request

_JSON_TYPE = re.compile(r"application/json|[\w!#$&^.+-]+/[\w!#$&^.+-]+\+json", re.ASCII)


async def read_json(http: Request, limit: int) -> Any:
    """Return the plain values of a body.

    Args:
        http: The request.
        limit: Most bytes of the body.

    Raises:
        UnsupportedMediaTypeError: the body is declared to be something else than JSON, or compressed.
        RequestTooLargeError: it has more bytes.
        InvalidRequestError: it is not JSON.
    """
    if _is_sent(http):
        _check_type(http.headers.get("content-type"))
    _check_encoding(http.headers.get("content-encoding"))
    return _parse(await _read(http, limit))


def _is_sent(http: Request) -> bool:
    return http.headers.get("content-length", "0") != "0" or "transfer-encoding" in http.headers


def _check_type(declared: str | None) -> None:
    """Refuse what is not declared as JSON; a page can send other types to another origin without asking."""
    if declared is None or not _is_json(declared):
        given = "none" if declared is None else repr(declared[:80])
        raise UnsupportedMediaTypeError(f"'Content-Type' should be application/json, not {given}.")


def _is_json(declared: str) -> bool:
    """Return True if a media type is JSON, and in UTF-8 if it names a charset."""
    kind, *parameters = (part.strip() for part in declared.lower().split(";"))
    named = (parameter.partition("=") for parameter in parameters)
    charsets = [value.strip('"') for name, _, value in named if name.startswith("charset")]
    return _JSON_TYPE.fullmatch(kind) is not None and set(charsets) <= {"utf-8", "utf8"}


def _check_encoding(declared: str | None) -> None:
    if declared is not None and declared.strip().lower() not in ("", "identity"):
        raise UnsupportedMediaTypeError(f"'Content-Encoding' should be identity, not {declared[:80]!r}.")


async def _read(http: Request, limit: int) -> bytes:
    declared = http.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:  # so that the client need not send it
        raise RequestTooLargeError(f"The body should have at most {limit} bytes, not {declared}.")
    body = bytearray()
    async for piece in http.stream():
        body += piece
        if len(body) > limit:
            raise RequestTooLargeError(
                f"The body should have at most {limit} bytes, not {len(body)} or more."
            )
    return bytes(body)


def _parse(body: bytes) -> Any:
    """Take NaN, infinities and lone surrogates too, so that the contract can name the field they are in."""
    try:
        return from_json(body)
    except ValueError as error:
        try:
            return json.loads(body.decode())  # slower, and knows lone surrogates
        except (ValueError, RecursionError):
            raise InvalidRequestError(f"The body should be JSON: {error}.") from None
