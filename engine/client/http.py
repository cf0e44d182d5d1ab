"""Streams over HTTP that outlive a server: needs httpx2 alone."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self

from engine.client.resuming import BrokenStreamError, Retries, fresh_seed, read_resuming
from engine.errors import EngineError, InvalidRequestError, UnavailableError
from engine.extras import explained

try:
    import httpx2
except ModuleNotFoundError as error:
    raise explained(error, "engine.client.http", "http-client") from None

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence
    from types import TracebackType

Fields = dict[str, Any]
"""A request's, or a chunk's, as the contract's JSON has them."""

_BROKEN_CODES: Final = frozenset({"unavailable", "too_many_connections", "queue_full", "internal_error"})
_BROKEN_STATUSES: Final = frozenset({429, 500, 502, 503, 504})
"""Of an answer that is not in the contract's form: a gateway's."""
_TIMEOUT: Final = httpx2.Timeout(None, connect=10.0)


class HttpClient:
    """Streams answers from the first server that gives them, and goes on at the next where one breaks.

    Args:
        *urls: Servers of one model, or one gateway, as ``http://host:port``. A broken stream goes on at the
            next; behind the last comes the first.
        key: The API key, if the servers want one.
        retries: How often, and when.
        client: Sends the requests, for certificates and proxies of your own; the caller closes it.

    Example:
        >>> async with HttpClient("http://10.0.0.1:8000", "http://10.0.0.2:8000") as client:  # doctest: +SKIP
        ...     async for chunk in client.stream(model="m", prompt="Hi"):
        ...         print(chunk["choices"][0]["text"], end="")
    """

    def __init__(
        self,
        *urls: str,
        key: str | None = None,
        retries: Retries = Retries(),  # noqa: B008 - frozen
        client: httpx2.AsyncClient | None = None,
    ) -> None:
        if not urls:
            raise InvalidRequestError("'urls' should hold at least one address.", param="urls")
        self._urls = [url.rstrip("/") for url in urls]
        self._headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        self._retries = retries
        self._is_own = client is None
        self._client = client or httpx2.AsyncClient(timeout=_TIMEOUT)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        if self._is_own:
            await self._client.aclose()

    def stream(self, **fields: Any) -> AsyncGenerator[Fields, None]:
        """Yield the chunks of an answer of one choice, all with the id of the first.

        Args:
            **fields: The fields of a request. A seed is added where it has none; token ids are always
                returned.

        Raises:
            InvalidRequestError: it asks for several choices.
            EngineError: the server has refused it, or the last one that was asked has no answer.
            httpx2.TransportError: the last one that was asked could not be reached.
        """
        return self._stream("/v1/completions", fields)

    def stream_chat(self, **fields: Any) -> AsyncGenerator[Fields, None]:
        """Yield the chunks of an answer to a chat, as :meth:`stream` does.

        Args:
            **fields: The fields of a request.

        Raises:
            InvalidRequestError: it asks for several choices.
            EngineError: the server has refused it, or the last one that was asked has no answer.
            httpx2.TransportError: the last one that was asked could not be reached.
        """
        return self._stream("/v1/chat/completions", fields)

    def _stream(self, path: str, fields: Fields) -> AsyncGenerator[Fields, None]:
        asked = _resumable(fields)
        wants_usage = bool((asked.get("stream_options") or {}).get("include_usage"))
        return read_resuming(partial(self._ask, path, asked), _WIRE, self._retries, wants_usage=wants_usage)

    async def _ask(
        self, path: str, fields: Fields, n_broken: int, tokens: list[int]
    ) -> AsyncGenerator[Fields, None]:
        url = self._urls[n_broken % len(self._urls)] + path
        body = _behind(fields, tokens)
        try:
            async with self._client.stream("POST", url, json=body, headers=self._headers) as answer:
                if answer.status_code != 200:
                    raise _refusal(await answer.aread(), answer.status_code)
                async for event in _events(answer.aiter_bytes()):
                    if event == b"[DONE]":
                        return
                    chunk: Fields = json.loads(event)
                    if "error" in chunk:
                        raise _refusal(event, 500)
                    yield chunk
        except httpx2.TransportError as error:
            raise BrokenStreamError(error) from None


def _resumable(fields: Fields) -> Fields:
    """Return the fields of a request that can be resumed.

    Raises:
        InvalidRequestError: it asks for several choices.
    """
    prompt = fields.get("prompt")
    several = isinstance(prompt, list) and len(prompt) > 1 and not isinstance(prompt[0], int)
    if several or (fields.get("n") or 1) != 1:
        field = "prompt" if several else "n"
        raise InvalidRequestError(
            f"{field!r} should ask for one choice, as only that can be resumed.", param=field
        )
    seed = fresh_seed() if fields.get("seed") is None else fields["seed"]
    return {**fields, "seed": seed, "stream": True, "return_token_ids": True}


def _behind(fields: Fields, tokens: Sequence[int]) -> Fields:
    """Return the request for the rest of an answer; the prompt was echoed before its first token."""
    if not tokens:
        return fields
    rest = {name: value for name, value in fields.items() if name != "echo"}
    return {**rest, "resume_token_ids": [*(fields.get("resume_token_ids") or ()), *tokens]}


async def _events(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the data of server-sent events, each of which is one line here."""
    rest = b""
    async for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                yield line[5:].strip()


def _refusal(body: bytes, status: int) -> Exception:
    """Return what a server's error is to a client: an end, or a break that another one makes good."""
    try:
        told = json.loads(body)["error"]
        code, message, param = told["code"], told["message"], told.get("param")
    except (ValueError, KeyError, TypeError):
        code, message, param = "", f"HTTP {status}: {body[:200].decode(errors='replace')}", None
    kind = _ERRORS.get(code, UnavailableError if status >= 429 else InvalidRequestError)
    error = kind(message, param=param)
    is_broken = code in _BROKEN_CODES if code in _ERRORS else status in _BROKEN_STATUSES
    return BrokenStreamError(error) if is_broken else error


def _all_errors(kind: type[EngineError]) -> dict[str, type[EngineError]]:
    found = {kind.code: kind} if hasattr(kind, "code") else {}
    for each in kind.__subclasses__():
        found |= _all_errors(each)
    return found


_ERRORS: Final = _all_errors(EngineError)


class _Json:
    """Reads chunks of either shape."""

    def token_ids(self, chunk: Fields) -> Sequence[int]:
        return [token for choice in chunk["choices"] for token in choice.get("token_ids") or ()]

    def has_choice(self, chunk: Fields) -> bool:
        return bool(chunk["choices"])

    def begins(self, chunk: Fields) -> bool:
        return any("role" in choice.get("delta", ()) for choice in chunk["choices"])

    def ends(self, chunk: Fields) -> bool:
        return any(choice["finish_reason"] for choice in chunk["choices"])

    def joined_to(self, first: Fields, chunk: Fields) -> Fields:
        for choice in chunk["choices"]:
            choice.pop("prompt_token_ids", None)
        return {**chunk, "id": first["id"], "created": first["created"]}


_WIRE: Final = _Json()
