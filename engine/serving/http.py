"""The HTTP door: JSON and server-sent events to the contract and back, and nothing else."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from fastapi_offline import FastAPIOffline
from sse_starlette import EventSourceResponse
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect

from engine import __version__
from engine.contract.chat_responses import ChatCompletion
from engine.contract.responses import (
    Completion,
    Detokenized,
    ModelCard,
    ModelList,
    ServerStatus,
    Tokenized,
    TokenizerInfo,
)
from engine.contract.state import ServerState
from engine.contract.status import GrpcAddress, HealthReport, ServerVersion
from engine.errors import (
    EngineError,
    InternalError,
    InvalidRequestError,
    MethodNotAllowedError,
    RouteNotFoundError,
    UnavailableError,
)
from engine.serving import openapi
from engine.serving.access import CLIENT_GONE
from engine.serving.access_log import AccessLog
from engine.serving.auth import caller_of
from engine.serving.bodies import read_json
from engine.serving.exchange import (
    CHAT_PATH,
    COMPLETIONS_PATH,
    HEALTH_PATH,
    MAX_REQUEST_BYTES,
    N_CONNECTIONS,
    seconds_of,
    wants_detail,
)
from engine.serving.gate import Gate, Lingering, answer_of
from engine.serving.gateway import add_gateway_routes
from engine.serving.health import health_of
from engine.serving.metrics import CONTENT_TYPE, page_of
from engine.serving.playground import PATHS, add_page
from engine.serving.version import version_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Mapping

    from starlette.types import ASGIApp, Receive, Scope, Send

    from engine.contract.chat import ChatRequest
    from engine.contract.requests import CompletionRequest
    from engine.contract.responses import Answer
    from engine.service.service import CompletionService
    from engine.service.stream import AnswerStream
    from engine.serving.auth import ApiKeys
    from engine.serving.origins import OriginPolicy

log = logging.getLogger("nucleus.http")
T = TypeVar("T")

_OPEN_PATHS = frozenset({HEALTH_PATH, "/ready"})
_CORS_REQUEST_HEADERS = ("Authorization", "Content-Type", "X-Request-Id", "X-Request-Timeout")
_CORS_ANSWER_HEADERS = ("x-request-id", "openai-processing-ms", "retry-after")


def create_app(
    service: CompletionService,
    keys: ApiKeys,
    *,
    origins: OriginPolicy | None = None,
    max_body_bytes: int = MAX_REQUEST_BYTES,
    lingering: Lingering = Lingering(),  # noqa: B008 - frozen
    access_log: AccessLog | None = None,
    grpc: GrpcAddress | None = None,
) -> ASGIApp:
    """Return the ASGI application in front of a service.

    Args:
        service: What answers; the caller closes it.
        keys: The API keys that open every route but ``/health``, ``/ready`` and the page at ``/``.
        origins: Which hosts and pages of the web may ask; None lets all.
        max_body_bytes: Largest body of a request; a larger one is answered with 413.
        lingering: What is read of a request that is refused.
        access_log: Writes about each request; by default without its prompt.
        grpc: Where the gRPC door of the same server is, if it has one.
    """
    open_paths = _OPEN_PATHS | PATHS
    app = FastAPIOffline(
        title="Nucleus",
        version=__version__,
        description="The completions contract on your own hardware.",
        redoc_url=None,
        static_url="/docs/static",
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    app.add_exception_handler(EngineError, _answer_engine_error)
    app.add_exception_handler(HTTPException, _answer_http_exception)
    app.add_exception_handler(ClientDisconnect, _answer_nobody)
    app.add_exception_handler(Exception, _answer_fault)
    _add_request_routes(app, service, max_body_bytes)
    _add_information_routes(app, service, grpc)
    add_gateway_routes(app, service)
    add_page(app)
    openapi.install(app, service, open_paths=open_paths, is_guarded=not keys.is_empty)
    gate = Gate(
        app,
        keys,
        origins,
        open_paths=open_paths,
        lingering=lingering,
        access_log=access_log or AccessLog(),
        refuse=partial(service.requests.refuse, "http"),
    )
    if origins is None or not origins.origins:
        return gate
    return CORSMiddleware(
        gate,
        allow_origins=origins.origins,
        allow_methods=("GET", "HEAD", "POST"),
        allow_headers=_CORS_REQUEST_HEADERS,
        expose_headers=_CORS_ANSWER_HEADERS,
        allow_private_network=True,
    )


def _add_request_routes(app: FastAPI, service: CompletionService, max_body_bytes: int) -> None:
    @app.post(COMPLETIONS_PATH, response_model=Completion, **openapi.COMPLETIONS)
    async def create_completion(http: Request) -> Response:
        """Complete a prompt, as a whole or, with `stream`, as server-sent events."""
        with service.requests.counting_refusals("http"):
            fields = await read_json(http, max_body_bytes)
        return await _respond(http, service, service.parse(fields))

    @app.post(CHAT_PATH, response_model=ChatCompletion, **openapi.CHAT)
    async def create_chat_completion(http: Request) -> Response:
        """Answer a chat, as a whole or, with `stream`, as server-sent events."""
        with service.requests.counting_refusals("http"):
            fields = await read_json(http, max_body_bytes)
        return await _respond(http, service, service.parse_chat(fields))

    @app.get("/v1/models", **openapi.MODELS)
    async def list_models() -> ModelList:
        """List the models that this server serves."""
        return service.models()

    @app.get("/v1/models/{model:path}", **openapi.MODEL)
    async def retrieve_model(model: str) -> ModelCard:
        """Describe one model."""
        return service.model(model)

    @app.post("/tokenize", **openapi.TOKENIZE)
    async def tokenize(http: Request) -> Tokenized:
        """Return the tokens of a text."""
        return await service.tokenize(await read_json(http, max_body_bytes))

    @app.post("/detokenize", **openapi.DETOKENIZE)
    async def detokenize(http: Request) -> Detokenized:
        """Return the text of tokens."""
        return service.detokenize(await read_json(http, max_body_bytes))


def _add_information_routes(app: FastAPI, service: CompletionService, grpc: GrpcAddress | None) -> None:
    metrics_page = page_of(service)

    @app.get("/tokenizer_info", **openapi.TOKENIZER_INFO)
    async def tokenizer_info() -> TokenizerInfo:
        """Tell the names of special tokens, and the chat template."""
        return service.tokenizer_info()

    @app.get("/metrics", **openapi.METRICS)
    async def metrics() -> Response:
        """Tell what the server has done and is doing, in the text format of Prometheus."""
        return Response(metrics_page(), media_type=CONTENT_TYPE)

    @app.get("/state", response_model=ServerState, **openapi.STATE)
    async def state() -> ServerState:
        """Tell which slots and cells are used for what, at this moment."""
        return await service.state()

    @app.get("/version", **openapi.VERSION)
    async def version() -> ServerVersion:
        """Tell which versions of what answer here, and where the gRPC door is."""
        return version_of(service, grpc)

    @app.get(HEALTH_PATH, response_model=ServerStatus | HealthReport, **openapi.HEALTH)
    async def health(http: Request) -> Response | ServerStatus:
        """Tell whether the server is alive; needs no key, unless `verbose` asks for detail."""
        dead = None if service.is_alive else UnavailableError("The engine is not running.")
        if wants_detail(http.scope):
            n_connections = http.scope.get("state", {}).get(N_CONNECTIONS)
            report = health_of(service, http_connections=n_connections)
            status = 200 if dead is None else answer_of(dead).status_code
            return JSONResponse(report.model_dump(), status)
        if dead is not None:
            raise dead
        return ServerStatus(status="ok")

    @app.get("/ready", **openapi.STATUS)
    async def ready() -> ServerStatus:
        """Tell whether the server takes requests; needs no key."""
        _require(service.is_ready, "The server takes no requests.")
        return ServerStatus(status="ready")


async def _respond(
    http: Request, service: CompletionService, request: CompletionRequest | ChatRequest
) -> Response:
    caller = caller_of(http.client.host if http.client else "", http.headers.get("authorization"))
    with service.requests.counting_refusals("http"):
        seconds = seconds_of(http.headers.get("x-request-timeout"))
    if request.stream:
        return _Events(await _while_connected(http, service.stream(request, caller, seconds=seconds)))
    answer = await _while_connected(http, service.complete(request, caller, seconds=seconds))
    return Response(answer.model_dump_json(), media_type="application/json")


def _require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise UnavailableError(otherwise)


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

    def __init__(self, stream: AnswerStream[Any]) -> None:
        super().__init__(self._frames(stream), sep="\n")
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._stream.aclose()

    @staticmethod
    async def _frames(stream: AnswerStream[Any]) -> AsyncIterator[bytes]:
        try:
            async for chunk in stream:
                yield _frame(_chunk_json(chunk, with_usage=stream.includes_usage))
            yield b"data: [DONE]\n\n"
        except EngineError as error:
            yield _frame(answer_of(error).body)
        except Exception as error:
            log.exception("a stream failed")
            yield _frame(answer_of(InternalError.of(error)).body)


def _frame(data: str | bytes | memoryview) -> bytes:
    return b"data: " + (data.encode() if isinstance(data, str) else bytes(data)) + b"\n\n"


def _chunk_json(chunk: Answer, *, with_usage: bool) -> str:
    """Return a chunk as JSON; if the request asked for usage, every chunk has the key ``usage``."""
    return chunk.model_dump_json(exclude=None if with_usage else {"usage"})


async def _answer_engine_error(_request: Request, error: Exception) -> Response:
    if not isinstance(error, EngineError):
        raise error
    return answer_of(error)


async def _answer_fault(_request: Request, error: Exception) -> Response:
    """Answer in the contract's form; the framework raises the error again, and the gate logs it."""
    return answer_of(InternalError.of(error))


async def _answer_http_exception(request: Request, error: Exception) -> Response:
    """Write the framework's own refusals in the contract's form."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers: Mapping[str, str] = getattr(error, "headers", None) or {}
    if status == 404:
        answer = answer_of(RouteNotFoundError(f"There is no route {request.url.path[:80]!r}."))
    elif status == 405:
        answer = answer_of(MethodNotAllowedError(f"{request.url.path[:80]!r} takes {headers.get('Allow')}."))
    else:
        answer = answer_of(InvalidRequestError(str(getattr(error, "detail", error))))
    answer.headers.update(headers)
    return answer


async def _answer_nobody(_request: Request, _error: Exception) -> Response:
    return Response(status_code=CLIENT_GONE)  # nobody reads it; the access log does
