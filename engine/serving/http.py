"""The HTTP door: JSON and server-sent events to the contract and back, and nothing else."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from typing import TYPE_CHECKING, Any, TypeVar

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from pydantic_core import from_json
from sse_starlette import EventSourceResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from engine import __version__
from engine.contract.responses import (
    Completion,
    Detokenized,
    ModelList,
    ServerStatus,
    Tokenized,
    TokenizerInfo,
)
from engine.errors import (
    EngineError,
    InvalidRequestError,
    MethodNotAllowedError,
    RequestTooLargeError,
    RouteNotFoundError,
    UnavailableError,
)
from engine.serving import openapi
from engine.serving.auth import caller_of
from engine.serving.exchange import MAX_REQUEST_BYTES, internal_error, request_id
from engine.serving.metrics import CONTENT_TYPE, page_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Mapping

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from engine.contract.responses import CompletionChunk
    from engine.service.service import CompletionService
    from engine.service.stream import CompletionStream
    from engine.serving.auth import ApiKeys

log = logging.getLogger("nucleus.http")
T = TypeVar("T")

_OPEN_PATHS = frozenset({"/health", "/ready"})


def create_app(
    service: CompletionService, keys: ApiKeys, *, max_body_bytes: int = MAX_REQUEST_BYTES
) -> ASGIApp:
    """Return the ASGI application in front of a service.

    Args:
        service: What answers; the caller closes it.
        keys: The API keys that open every route but ``/health`` and ``/ready``.
        max_body_bytes: Largest body of a request; a larger one is answered with 413.
    """
    app = FastAPI(
        title="Nucleus",
        version=__version__,
        description="The completions contract on your own hardware.",
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    app.add_exception_handler(EngineError, _answer_engine_error)
    app.add_exception_handler(HTTPException, _answer_http_exception)
    app.add_exception_handler(ClientDisconnect, _answer_nobody)
    _add_request_routes(app, service, max_body_bytes)
    _add_information_routes(app, service)
    openapi.install(app, service, open_paths=_OPEN_PATHS, is_guarded=not keys.is_empty)
    return _Gate(app, keys)


def _add_request_routes(app: FastAPI, service: CompletionService, max_body_bytes: int) -> None:
    @app.post("/v1/completions", response_model=Completion, **openapi.COMPLETIONS)
    async def create_completion(http: Request) -> Response:
        """Complete a prompt, as a whole or, with `stream`, as server-sent events."""
        request = service.parse(_parse_json(await _read_body(http, max_body_bytes)))
        caller = caller_of(http.client.host if http.client else "", http.headers.get("authorization"))
        if request.stream:
            return _Events(await _while_connected(http, service.stream(request, caller)))
        completion = await _while_connected(http, service.complete(request, caller))
        return Response(completion.model_dump_json(), media_type="application/json")

    @app.get("/v1/models", **openapi.MODELS)
    async def list_models() -> ModelList:
        """List the models that this server serves."""
        return service.models()

    @app.post("/tokenize", **openapi.TOKENIZE)
    async def tokenize(http: Request) -> Tokenized:
        """Return the tokens of a text."""
        fields = _parse_json(await _read_body(http, max_body_bytes))
        return await service.tokenize(fields)

    @app.post("/detokenize", **openapi.DETOKENIZE)
    async def detokenize(http: Request) -> Detokenized:
        """Return the text of tokens."""
        fields = _parse_json(await _read_body(http, max_body_bytes))
        return service.detokenize(fields)


def _add_information_routes(app: FastAPI, service: CompletionService) -> None:
    metrics_page = page_of(service)

    @app.get("/tokenizer_info", **openapi.TOKENIZER_INFO)
    async def tokenizer_info() -> TokenizerInfo:
        """Tell the names of special tokens, and the chat template."""
        return service.tokenizer_info()

    @app.get("/metrics", **openapi.METRICS)
    async def metrics() -> Response:
        """Tell what the server has done and is doing, in the text format of Prometheus."""
        return Response(metrics_page(), media_type=CONTENT_TYPE)

    @app.get("/health", **openapi.STATUS)
    async def health() -> ServerStatus:
        """Tell whether the server is alive; needs no key."""
        _require(service.is_alive, "The engine is not running.")
        return ServerStatus(status="ok")

    @app.get("/ready", **openapi.STATUS)
    async def ready() -> ServerStatus:
        """Tell whether the server takes requests; needs no key."""
        _require(service.is_ready, "The server takes no requests.")
        return ServerStatus(status="ready")


def _require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise UnavailableError(otherwise)


async def _read_body(http: Request, limit: int) -> bytes:
    body = bytearray()
    async for piece in http.stream():
        body += piece
        if len(body) > limit:
            size = http.headers.get("content-length", f"{len(body)} or more")
            raise RequestTooLargeError(f"The body should have at most {limit} bytes, not {size}.")
    return bytes(body)


def _parse_json(body: bytes) -> Any:
    """Take NaN, infinities and lone surrogates too, so that the contract can name the field they are in."""
    try:
        return from_json(body)
    except ValueError as error:
        try:
            return json.loads(body.decode())  # slower, and knows lone surrogates
        except (ValueError, RecursionError):
            raise InvalidRequestError(f"The body should be JSON: {error}.") from None


async def _while_connected(http: Request, work: Awaitable[T]) -> T:
    """Wait for ``work``, and drop it as soon as the client is gone."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(http))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        task.cancel()
        gone.cancel()


async def _disconnected(http: Request) -> None:
    while (await http.receive())["type"] != "http.disconnect":
        pass


class _Events(EventSourceResponse):
    """Sends chunks as server-sent events, and stops the work when the response ends for any reason."""

    def __init__(self, stream: CompletionStream) -> None:
        super().__init__(self._frames(stream), sep="\n")
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._stream.aclose()

    @staticmethod
    async def _frames(stream: CompletionStream) -> AsyncIterator[bytes]:
        try:
            async for chunk in stream:
                yield _frame(_chunk_json(chunk, with_usage=stream.includes_usage))
            yield b"data: [DONE]\n\n"
        except EngineError as error:
            yield _frame(JSONResponse(error.body()).body)
        except Exception as error:
            log.exception("a stream failed")
            yield _frame(JSONResponse(internal_error(error).body()).body)


def _frame(data: str | bytes | memoryview) -> bytes:
    return b"data: " + (data.encode() if isinstance(data, str) else bytes(data)) + b"\n\n"


def _chunk_json(chunk: CompletionChunk, *, with_usage: bool) -> str:
    """Return a chunk as JSON; if the request asked for usage, every chunk has the key ``usage``."""
    return chunk.model_dump_json(exclude=None if with_usage else {"usage"})


def _answer(error: EngineError) -> JSONResponse:
    headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
    if error.http_status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(error.body(), error.http_status, headers)


async def _answer_engine_error(_request: Request, error: Exception) -> Response:
    if not isinstance(error, EngineError):
        raise error
    return _answer(error)


async def _answer_http_exception(request: Request, error: Exception) -> Response:
    """Write the framework's own refusals in the contract's form."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers: Mapping[str, str] = getattr(error, "headers", None) or {}
    if status == 404:
        answer = _answer(RouteNotFoundError(f"There is no route {request.url.path[:80]!r}."))
    elif status == 405:
        answer = _answer(MethodNotAllowedError(f"{request.url.path[:80]!r} does not take {request.method}."))
    else:
        answer = _answer(InvalidRequestError(str(getattr(error, "detail", error))))
    answer.headers.update(headers)
    return answer


async def _answer_nobody(_request: Request, _error: Exception) -> Response:
    return Response(status_code=499)  # nobody reads it; the access log does


class _Gate:
    """Handles every request first: sets its id, checks its key, and turns any exception into an answer.

    It guards every path that is not open by name, so that a route added later is guarded too.
    """

    def __init__(self, app: ASGIApp, keys: ApiKeys) -> None:
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        own_id = request_id(headers.get(b"x-request-id"))
        began, answered = time.perf_counter(), False

        async def send_with_headers(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                answered = True
                spent = f"{(time.perf_counter() - began) * 1e3:.0f}"
                message["headers"] = [
                    *message["headers"],
                    (b"x-request-id", own_id.encode("latin-1")),
                    (b"openai-processing-ms", spent.encode()),
                ]
            await send(message)

        try:
            if scope["path"] not in _OPEN_PATHS:
                self._keys.check(headers.get(b"authorization"))
            await self._app(scope, receive, send_with_headers)
        except EngineError as error:
            await _answer(error)(scope, receive, send_with_headers)
        except Exception as error:
            log.exception("request %s failed", own_id)
            if answered:
                raise
            await _answer(internal_error(error))(scope, receive, send_with_headers)
