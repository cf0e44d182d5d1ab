"""The OpenAPI page: routes, errors, headers and keys, put round the schemas that the contract has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine.contract.chat_responses import ChatCompletionChunk
from engine.contract.json_schemas import CHAT_EXAMPLES, EXAMPLES, request_schemas
from engine.contract.responses import CompletionChunk, ErrorAnswer
from engine.contract.status import HealthReport
from engine.errors import (
    AuthenticationError,
    DeadlineExceededError,
    ForbiddenError,
    InternalError,
    InvalidRequestError,
    ModelNotFoundError,
    QueueFullError,
    RequestTooLargeError,
    SlowRequestError,
    UnavailableError,
    UnsupportedMediaTypeError,
)
from engine.serving.exchange import CHAT_PATH, COMPLETIONS_PATH, HEALTH_PATH

if TYPE_CHECKING:
    from collections.abc import Collection

    from fastapi import FastAPI

    from engine.contract.json_schemas import Examples
    from engine.contract.responses import Answer
    from engine.errors import EngineError
    from engine.service.service import CompletionService

    Schema = dict[str, Any]

_REF = "#/components/schemas/{model}"
_EXAMPLES = {
    str(error.http_status): error.body()
    for error in (
        InvalidRequestError("'temperature' should be less than or equal to 2, not 3.", param="temperature"),
        AuthenticationError("An API key is required, as 'Authorization: Bearer sk-...'."),
        ForbiddenError("Pages of 'https://other.example' may not call this server."),
        ModelNotFoundError("The model 'other' does not exist; this server serves 'mine'.", param="model"),
        SlowRequestError("The headers should come within 20 s."),
        RequestTooLargeError("The body should have at most 4194304 bytes, not 5000000."),
        UnsupportedMediaTypeError("'Content-Type' should be application/json, not 'text/plain'."),
        QueueFullError("1024 requests are running or waiting already; try again later."),
        InternalError("The server failed (ValueError); its log says more."),
        UnavailableError("The engine is not running."),
        DeadlineExceededError("The request was given up after 2 s, the time it was allowed."),
    )
}
"""Status to what such an error may say."""
_EVENTS = (
    'data: {"id": "cmpl-0…", "object": "text_completion", "created": 1767225600, "model": "m", "choices": '
    '[{"text": " Paris", "index": 0, "logprobs": null, "finish_reason": "length"}]}\n\ndata: [DONE]\n\n'
)
_CHAT_EVENTS = (
    'data: {"id": "chatcmpl-0…", "object": "chat.completion.chunk", "created": 1767225600, "model": "m", '
    '"choices": [{"index": 0, "delta": {"content": "Paris"}, "logprobs": null, "finish_reason": null}]}'
    "\n\ndata: [DONE]\n\n"
)


def _operation(tag: str, *errors: type[EngineError], body: str | None = None) -> Schema:
    """Return a route's options.

    Args:
        tag: The heading it goes under.
        *errors: What it may answer besides 500.
        body: Name of its request's schema, if it has a body.
    """
    extra: Schema = {"parameters": [{"$ref": "#/components/parameters/RequestId"}]}
    if body is not None:
        content = {"schema": {"$ref": _REF.format(model=body)}}
        extra["requestBody"] = {"required": True, "content": {"application/json": content}}
    kinds: list[type[EngineError]] = [*errors, InternalError]
    responses = {kind.http_status: {"model": ErrorAnswer, "description": kind.__doc__} for kind in kinds}
    return {
        "tags": [tag],
        "response_description": "The answer.",
        "responses": responses,
        "openapi_extra": extra,
    }


_ACCESS = (AuthenticationError, ForbiddenError)
_BODY = (
    InvalidRequestError,
    *_ACCESS,
    ModelNotFoundError,
    SlowRequestError,
    RequestTooLargeError,
    UnsupportedMediaTypeError,
)
_WORK = (*_BODY, QueueFullError, UnavailableError, DeadlineExceededError)
COMPLETIONS = _operation("completions", *_WORK, body="CompletionRequest")
CHAT = _operation("completions", *_WORK, body="ChatRequest")
for _options in (COMPLETIONS, CHAT):
    _options["openapi_extra"]["parameters"].append({"$ref": "#/components/parameters/RequestTimeout"})
MODELS = _operation("models", *_ACCESS)
MODEL = _operation("models", *_ACCESS, ModelNotFoundError)
TOKENIZE = _operation("tokens", *_BODY, body="TokenizeRequest")
DETOKENIZE = _operation("tokens", *_BODY, body="DetokenizeRequest")
TOKENIZER_INFO = _operation("tokens", *_ACCESS)
STATUS = _operation("server", UnavailableError)
METRICS = _operation("server", *_ACCESS)
STATE = _operation("server", *_ACCESS, UnavailableError)
VERSION = _operation("server", *_ACCESS)
GATEWAY = _operation("gateway", *_ACCESS, UnavailableError)
HEALTH = _operation("server", *_ACCESS, UnavailableError)
HEALTH["openapi_extra"]["parameters"].append({"$ref": "#/components/parameters/Verbose"})


def install(
    app: FastAPI, service: CompletionService, *, open_paths: Collection[str], is_guarded: bool
) -> None:
    """Complete what the framework can tell by itself: it does not see a body that we parse.

    Args:
        app: The application, with all its routes.
        service: What answers; its limits and its model's are those on the page.
        open_paths: The paths that need no key.
        is_guarded: Whether the others need one.
    """
    framework = app.openapi

    def openapi() -> Schema:
        if app.openapi_schema is None:
            page = framework()
            (card,) = service.models().data
            page["components"] = _components(page, request_schemas(service.limits, card, template=_REF))
            for path, chunk, examples, events in (
                (COMPLETIONS_PATH, CompletionChunk, EXAMPLES, _EVENTS),
                (CHAT_PATH, ChatCompletionChunk, CHAT_EXAMPLES, _CHAT_EVENTS),
            ):
                _describe_work(page["paths"][path]["post"], card.id, chunk, examples, events)
            metrics = page["paths"]["/metrics"]["get"]["responses"]["200"]
            metrics["content"] = {"text/plain": {"schema": {"type": "string"}}}
            for path, operations in page["paths"].items():
                for operation in operations.values():
                    _describe(operation, is_guarded=is_guarded and path not in open_paths)
            _describe_health(page["paths"][HEALTH_PATH]["get"], is_guarded=is_guarded)
            app.openapi_schema = page
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _components(page: Schema, requests: Schema) -> Schema:
    schemas = {**page["components"]["schemas"], **requests}
    for kind in (CompletionChunk, ChatCompletionChunk):
        chunk = kind.model_json_schema(mode="serialization", ref_template=_REF)
        schemas |= chunk.pop("$defs")
        schemas |= {kind.__name__: chunk, _event_name(kind): _event(kind)}
    text, integer = {"type": "string"}, {"type": "string", "pattern": "^[0-9]+$"}
    about_id = "Names the request, here and in the server's log."
    return {
        "schemas": schemas,
        "parameters": {
            "RequestId": {
                "name": "x-request-id",
                "in": "header",
                "description": f"{about_id} At most 128 characters are kept; without it a name is made.",
                "schema": text,
            },
            "RequestTimeout": {
                "name": "x-request-timeout",
                "in": "header",
                "description": "Seconds after which the request is given up, with 504.",
                "schema": {"type": "number", "exclusiveMinimum": 0},
            },
            "Verbose": {
                "name": "verbose",
                "in": "query",
                "description": "Ask for detail, with any value but `0` and `false`, or with none.",
                "allowEmptyValue": True,
                "schema": text,
            },
        },
        "headers": {
            "RequestId": {"description": about_id, "schema": text, "required": True},
            "ProcessingTime": {
                "description": "Milliseconds until the answer began.",
                "schema": integer,
                "required": True,
            },
            "RetryAfter": {
                "description": "Seconds after which to try again.",
                "schema": integer,
                "required": True,
            },
            "Challenge": {
                "description": "How to give a key.",
                "schema": {"const": "Bearer"},
                "required": True,
            },
        },
        "securitySchemes": {
            "key": {"type": "http", "scheme": "bearer", "description": "The server's API key."}
        },
    }


def _event_name(chunk: type[Answer]) -> str:
    return f"{chunk.__name__.removesuffix('Chunk')}Event"


def _event(chunk: type[Answer]) -> Schema:
    payloads = [{"$ref": _REF.format(model=name)} for name in (chunk.__name__, "ErrorAnswer")]
    data = {"type": "string", "contentMediaType": "application/json", "contentSchema": {"anyOf": payloads}}
    return {
        "title": _event_name(chunk),
        "description": "One event of a stream: a chunk, an error that ends the stream, or the end, `[DONE]`.",
        "type": "object",
        "properties": {"data": {"anyOf": [{"const": "[DONE]"}, data]}},
        "required": ["data"],
    }


def _describe_work(
    operation: Schema, model: str, chunk: type[Answer], examples: Examples, events: str
) -> None:
    operation["requestBody"]["content"]["application/json"]["examples"] = {
        name: {"summary": summary, "value": {"model": model, **fields}}
        for name, (summary, fields) in examples.items()
    }
    answer = operation["responses"]["200"]
    answer["description"] = "The answer; with `stream`, events, of which this schema describes each."
    answer["content"]["text/event-stream"] = {
        "schema": {"$ref": _REF.format(model=_event_name(chunk))},
        "example": events,
    }


def _describe_health(operation: Schema, *, is_guarded: bool) -> None:
    """Say that only the detail needs a key, and is there as well when the server is dead."""
    operation["security"] = [{}, {"key": []}] if is_guarded else []
    schemas = operation["responses"]["503"]["content"]["application/json"]
    schemas["schema"] = {"anyOf": [schemas["schema"], {"$ref": _REF.format(model=HealthReport.__name__)}]}


def _describe(operation: Schema, *, is_guarded: bool) -> None:
    """Say what holds for every route: its headers, what errors look like, and whether it needs a key."""
    operation["security"] = [{"key": []}] if is_guarded else []
    for status, response in operation["responses"].items():
        names = {"x-request-id": "RequestId", "openai-processing-ms": "ProcessingTime"}
        names |= {"429": {"retry-after": "RetryAfter"}, "401": {"www-authenticate": "Challenge"}}.get(
            status, {}
        )
        response["headers"] = {name: {"$ref": f"#/components/headers/{kind}"} for name, kind in names.items()}
        if status in _EXAMPLES:
            response["content"]["application/json"]["example"] = _EXAMPLES[status]
