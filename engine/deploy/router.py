"""Several models behind one address: whoever asks is handed to a replica of the model that is asked for.

It also asks again where a replica dies before it has said anything, and says so where a stream has broken.
"""

from __future__ import annotations

import asyncio
import json
import logging
import pickle
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from grpc_status import rpc_status

from engine.deploy.grpc_calls import CHECK_PATH, COMPLETIONS, Refusal
from engine.deploy.grpc_methods import with_grpc_methods
from engine.deploy.http_calls import carried
from engine.deploy.replica import GrpcRequest, HttpRequest
from engine.errors import EngineError, ModelNotFoundError, RequestTooLargeError, UnavailableError
from engine.pb.nucleus.v1 import completions_pb2 as pb
from engine.serving import wire
from engine.serving.auth import ApiKeys
from engine.serving.exchange import MAX_REQUEST_BYTES
from engine.serving.gate import answer_of
from engine.serving.grpc_gate import value_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping

    from google.protobuf.message import Message
    from starlette.types import ASGIApp, Receive, Scope, Send
    from starlette.types import Message as AsgiMessage

    from engine.deploy.grpc_methods import Context
    from engine.deploy.options import DoorOptions

    class Answers(Protocol):
        """What a replica says, one pickled object after another."""

        def __aiter__(self) -> AsyncIterator[bytes]:
            """Return itself."""

        def cancel(self) -> None:
            """Stop the work."""

    class Handle(Protocol):
        """The replicas of one model."""

        def http(self, request: HttpRequest) -> Answers:
            """Ask one of them; see :meth:`engine.deploy.replica.Replica.http`."""

        def grpc(self, request: GrpcRequest) -> Answers:
            """The same for gRPC."""


T = TypeVar("T", bound="HttpRequest | GrpcRequest")
log = logging.getLogger("nucleus.deploy")

MODELS_PATH = "/v1/models"
_LIST_PATH = f"/{COMPLETIONS.full_name}/ListModels"
_TRIES = 5  # and no more: a request may be what its replicas die of
_BROKEN = "The replica that computed this answer is gone."
_SESSION_HEADER, _SESSION_KEY = "x-session-id", "session_id"  # Serve's, over HTTP and gRPC
_NO_PROMPT = "-"  # the prefix-aware router divides by a prompt's length


class LostReplicaError(Exception):
    """A replica has died, or is no longer there; whoever makes a handle raises this for whatever says so."""


@with_grpc_methods
class Router:
    """Reads which model is asked for, and hands the request on as it is.

    What names no model goes to the first: the page at ``/``, say. Keys are checked by the replicas.

    Args:
        doors: Who may ask.
        handles: The replicas of each model, by its name.
    """

    def __init__(self, doors: DoorOptions, handles: Mapping[str, Handle]) -> None:
        self._keys = ApiKeys(doors.api_key or (), doors.api_key_file)
        self._handles = handles
        self._first = next(iter(handles))

    def __serve_build_asgi_app__(self) -> ASGIApp:
        return _App(self)

    async def call_http(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request over HTTP."""
        if scope["type"] != "http":
            return
        try:
            body = await _read(receive)
            if scope["path"] == MODELS_PATH:
                await self._list_models(scope, body, send)
            else:
                fields = _fields_of(body)
                name = self._checked(_model_of(scope, fields), _header(scope, b"authorization"))
                session = _header(scope, _SESSION_HEADER.encode()) or ""
                request = HttpRequest(carried(scope), body, _prompt_of(fields), session)
                await self._forward(name, request, send)
        except EngineError as error:
            await answer_of(error)(scope, receive, send)

    async def call_grpc(
        self, path: str, request: Message, context: Context
    ) -> AsyncGenerator[Message | Refusal]:
        """Yield the responses of a call, and at last a refusal if it fails."""
        metadata = tuple(context.invocation_metadata())
        asked = getattr(request, "request", request)  # of a tokenize call, itself
        session = value_of(metadata, _SESSION_KEY) or ""
        call = GrpcRequest(path, request, context.peer(), metadata, _prompt_of_message(asked), session)
        try:
            if path == _LIST_PATH:
                yield await self._list_models_grpc(call)
                return
            model = getattr(asked, "model", "") if path != CHECK_PATH else ""
            name = self._checked(model or None, value_of(metadata, "authorization"))
            async with aclosing(self._ask(self._handles[name].grpc, call)) as answers:
                async for said in answers:
                    yield said
        except EngineError as error:
            yield Refusal.of(rpc_status.to_status(wire.status_of(error)))

    def _checked(self, name: str | None, authorization: str | None) -> str:
        """Return the model that is asked for, or the first.

        Raises:
            ModelNotFoundError: there is none of that name.
        """
        if name is None or name in self._handles:
            return name or self._first
        self._keys.check(authorization)
        served = ", ".join(f"'{model}'" for model in self._handles)
        raise ModelNotFoundError(
            f"The model '{name[:80]}' does not exist; this server serves {served}.", param="model"
        )

    async def _forward(self, name: str, request: HttpRequest, send: Send) -> None:
        """Send the answer on, its head with its first piece: until then another replica may give it."""
        head: AsgiMessage | None = None
        is_stream = has_begun = False
        try:
            async with aclosing(self._ask(self._handles[name].http, request)) as answers:
                async for messages in answers:
                    for message in messages:
                        if message["type"] == "http.response.start":
                            head, is_stream = message, _is_stream(message)
                            continue
                        if head is not None:
                            await send(_without_id(head))
                            head, has_begun = None, True
                        await send(message)
        except UnavailableError as error:
            if not (is_stream and has_begun):
                raise
            body = b"data: " + json.dumps(error.body()).encode() + b"\n\n"
            await send({"type": "http.response.body", "body": body, "more_body": False})

    async def _ask(self, call: Callable[[T], Answers], request: T) -> AsyncGenerator[Any]:
        """Yield what a replica says; if it dies before it has said anything, what another says.

        Raises:
            UnavailableError: it died later, or too many have died.
        """
        for n_lost in range(_TRIES):
            has_begun = is_whole = False
            answers = call(request)
            try:
                async for said in answers:
                    has_begun = True
                    yield pickle.loads(said)  # noqa: S301 - what our own replica has written
                is_whole = True
                return
            except LostReplicaError as error:
                log.warning("lost a replica, %d before: %s", n_lost, str(error)[:200])
                if has_begun:
                    break
            finally:
                if not is_whole:
                    answers.cancel()
        raise UnavailableError(_BROKEN, hint="Ask again.")

    async def _list_models(self, scope: Scope, body: bytes, send: Send) -> None:
        """Send the models of all lists in one, or the first answer that is no list."""
        request = HttpRequest(carried(scope), body, _NO_PROMPT)
        answers = await asyncio.gather(*(self._whole(handle, request) for handle in self._handles.values()))
        refused = next((answer for answer in answers if answer[0]["status"] != 200), None)
        head, content = refused or answers[0]
        if refused is None and scope["method"] == "GET":
            cards = [card for _, part in answers for card in json.loads(part)["data"]]
            content = json.dumps(json.loads(content) | {"data": cards}).encode()
            length = str(len(content)).encode()
            kept = [pair for pair in head["headers"] if pair[0] != b"content-length"]
            head = {**head, "headers": [*kept, (b"content-length", length)]}
        await send(_without_id(head))
        await send({"type": "http.response.body", "body": content})

    async def _whole(self, handle: Handle, request: HttpRequest) -> tuple[AsgiMessage, bytes]:
        async with aclosing(self._ask(handle.http, request)) as answers:
            head, *rest = [message async for messages in answers for message in messages]
        return head, b"".join(message.get("body", b"") for message in rest)

    async def _list_models_grpc(self, call: GrpcRequest) -> Message | Refusal:
        models = []
        for handle in self._handles.values():
            async with aclosing(self._ask(handle.grpc, call)) as answers:
                async for said in answers:
                    if isinstance(said, Refusal):
                        return said
                    models += said.models
        return pb.ListModelsResponse(models=models)


class _App:
    """The router as an ASGI application: uvicorn asks for an object that is called."""

    def __init__(self, router: Router) -> None:
        self._router = router

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._router.call_http(scope, receive, send)


async def _read(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > MAX_REQUEST_BYTES:
            limit = f"The body should have at most {MAX_REQUEST_BYTES} bytes, not {len(body)} or more."
            raise RequestTooLargeError(limit)
        if not message.get("more_body", False):
            return bytes(body)


def _fields_of(body: bytes) -> Mapping[str, Any]:
    """Return the fields of a body; none of one that a replica will refuse."""
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}


def _model_of(scope: Scope, fields: Mapping[str, Any]) -> str | None:
    path: str = scope["path"]
    if path.startswith(f"{MODELS_PATH}/"):
        return path[len(MODELS_PATH) + 1 :]
    name = fields.get("model")
    return name if isinstance(name, str) and name else None  # else a replica says what is wrong with it


def _prompt_of(fields: Mapping[str, Any]) -> str:
    """Return the text that decides where a request goes: a text as it is, tokens and chats as JSON."""
    prompt = fields.get("messages") or fields.get("prompt")
    text = prompt if isinstance(prompt, str) else json.dumps(prompt) if prompt else ""
    return text or _NO_PROMPT


def _prompt_of_message(asked: Message) -> str:
    given = getattr(asked, "messages", None) or getattr(asked, "prompt", None)
    return getattr(given, "text", "") or str(given or "").strip() or _NO_PROMPT


def _header(scope: Scope, name: bytes) -> str | None:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), None)


def _is_stream(head: AsgiMessage) -> bool:
    kinds = [value for key, value in head["headers"] if key == b"content-type"]
    return any(kind.startswith(b"text/event-stream") for kind in kinds)


def _without_id(head: AsgiMessage) -> AsgiMessage:
    """Leave out the id of the request: Serve's proxy adds it, the same."""
    return {**head, "headers": [pair for pair in head["headers"] if pair[0] != b"x-request-id"]}
