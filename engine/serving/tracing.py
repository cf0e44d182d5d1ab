"""A span for each request that is generated for, by OpenTelemetry: where its SDK is installed and asked for.

The standard variables ask for it: ``OTEL_TRACES_EXPORTER``, or the endpoint of OTLP. Without them the SDK is
not imported, and a request pays nothing. Attributes follow the semantic conventions for GenAI.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from engine import __version__
from engine.errors import InvalidRequestError, MissingPackageError
from engine.extras import check
from engine.pb.nucleus.v1 import completions_pb2 as pb
from engine.serving.access import OK
from engine.serving.exchange import CHAT_PATH, COMPLETIONS_PATH

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

    from engine.contract.chat import ChatRequest
    from engine.contract.requests import CompletionRequest
    from engine.serving.access import Access

log = logging.getLogger("nucleus.traces")

_COMPLETION, _CHAT = "text_completion", "chat"
_RPC = f"/{pb.DESCRIPTOR.services_by_name['CompletionService'].full_name}/"
_OPERATIONS = {
    COMPLETIONS_PATH: _COMPLETION,
    CHAT_PATH: _CHAT,
    f"{_RPC}CreateCompletion": _COMPLETION,
    f"{_RPC}StreamCompletion": _COMPLETION,
    f"{_RPC}CreateChatCompletion": _CHAT,
    f"{_RPC}StreamChatCompletion": _CHAT,
    "/vllm.grpc.engine.VllmEngine/Generate": _COMPLETION,
}
"""Path of a request -> what OpenTelemetry calls the operation; others have no spans."""
_EXPORTERS = "opentelemetry_traces_exporter"
_PROTOCOLS = {"grpc": "otlp_proto_grpc", "http/protobuf": "otlp_proto_http"}
_FLUSH_SECONDS = 2.0


class Tracing:
    """Writes the spans of requests that have ended.

    They are made at the end, with the times that requests have noted: until then a request costs nothing, and
    a sampler sees all attributes.

    Args:
        provider: What samples spans and exports them.
    """

    def __init__(self, provider: TracerProvider) -> None:
        from opentelemetry import propagate, trace
        from opentelemetry.context import Context

        self._api, self._extract, self._no_context = trace, propagate.extract, Context()
        self._provider = provider
        self._tracer = provider.get_tracer("nucleus", __version__)

    def write(self, access: Access, ended: float) -> str | None:
        """Write the span of a request, and one each for queue, prefill and decode.

        Args:
            access: The request.
            ended: When it ended, by ``time.monotonic``.

        Returns:
            The id of its trace, for the log; None for a request that has no span.
        """
        operation = _OPERATIONS.get(access.path)
        if operation is None:
            return None
        try:
            return self._write(access, ended, operation)
        except Exception:  # of somebody's sampler, say: the request has been answered all the same
            log.exception("a span could not be written")
            return None

    def _write(self, access: Access, ended: float, operation: str) -> str:
        at, request = _wall_clock(), access.record.request
        span = self._tracer.start_span(
            operation if request is None else f"{operation} {request.model}",
            self._parent_of(access),
            self._api.SpanKind.SERVER,
            attributes=_attributes(access, operation),
            start_time=at(access.began),
        )
        if span.is_recording():
            error = access.record.error
            if error is not None and error.http_status >= 500:  # else the fault is the client's
                span.set_status(self._api.StatusCode.ERROR, error.message)
            inside = self._api.set_span_in_context(span)
            for name, begin, end in _phases(access, ended):
                self._tracer.start_span(name, inside, start_time=at(begin)).end(at(end))
        span.end(at(ended))
        return f"{span.get_span_context().trace_id:032x}"

    def _parent_of(self, access: Access) -> Context:
        """Return the context that the client has sent, by default as W3C's ``traceparent``."""
        carrier: dict[str, list[str]] = {}
        for name, value in access.headers():
            carrier.setdefault(name, []).append(value)
        return self._extract(carrier, self._no_context)

    def close(self) -> None:
        """Send what is left; a collector that does not answer is waited for two seconds."""
        thread = threading.Thread(target=self._provider.shutdown, name="nucleus-traces", daemon=True)
        thread.start()
        thread.join(_FLUSH_SECONDS)


def tracing_from_environment(environment: Mapping[str, str] = os.environ) -> Tracing | None:
    """Return what the variables of OpenTelemetry ask for; None without them, or without its SDK.

    Raises:
        InvalidRequestError: a variable names what there is not.
    """
    names = _exporter_names(environment)
    if not names:
        return None
    try:
        check("OTEL_TRACES_EXPORTER", "otel", "opentelemetry.sdk.trace")
        exporters = [_exporter(name) for name in names]
    except MissingPackageError as error:
        log.warning("there will be no traces: %s", error)
        return None
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    ours = Resource({"service.name": "nucleus", "service.version": __version__})
    resource = Resource.create().merge(ours).merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    for exporter in exporters:
        provider.add_span_processor(BatchSpanProcessor(exporter()))
    return Tracing(provider)


def _exporter_names(environment: Mapping[str, str]) -> Sequence[str]:
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return ()
    asked = environment.get("OTEL_TRACES_EXPORTER", "")
    if not asked.strip():
        endpoints = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
        asked = "otlp" if any(environment.get(name) for name in endpoints) else "none"
    protocols = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
    protocol = next((given for name in protocols if (given := environment.get(name))), "grpc")
    if protocol not in _PROTOCOLS:
        raise InvalidRequestError(
            f"{protocols[-1]} should be one of {', '.join(_PROTOCOLS)}, not {protocol!r:.80}."
        )
    names = [name.strip() for name in asked.split(",")]
    return [_PROTOCOLS[protocol] if name == "otlp" else name for name in names if name not in ("", "none")]


def _exporter(name: str) -> Callable[[], SpanExporter]:
    known = {found.name: found for found in entry_points(group=_EXPORTERS)}
    if name in known:
        exporter: Callable[[], SpanExporter] = known[name].load()
        return exporter
    if name in _PROTOCOLS.values():
        package = f"opentelemetry.exporter.otlp.{name.removeprefix('otlp_').replace('_', '.')}"
        check("OTEL_TRACES_EXPORTER", "otel", package)
    names = ", ".join(["otlp", *known, "none"])
    raise InvalidRequestError(f"OTEL_TRACES_EXPORTER should be one of {names}, not {name!r:.80}.")


def _wall_clock() -> Callable[[float], int]:
    """Return what makes nanoseconds since 1970 of a time of ``time.monotonic``."""
    wall, monotonic = time.time_ns(), time.monotonic()
    return lambda at: wall + int((at - monotonic) * 1e9)


def _phases(access: Access, ended: float) -> Sequence[tuple[str, float, float]]:
    """Return the parts of a request that was queued, each with its begin and its end."""
    times = access.record.times
    if times is None:
        return ()
    admitted = ended if times.admitted is None else times.admitted
    first = ended if times.first_token is None else times.first_token
    phases = [("queue", times.submitted, admitted), ("prefill", admitted, first), ("decode", first, ended)]
    return phases[: 1 + (times.admitted is not None) + (times.first_token is not None)]


def _attributes(access: Access, operation: str) -> dict[str, Any]:
    """Return what the span says; the names are those of the semantic conventions, but for our own id."""
    record = access.record
    attributes: dict[str, Any] = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": "nucleus",
        "client.address": access.client,
        "nucleus.request_id": access.request_id,
        **_of_the_door(access),
    }
    if record.request is not None:
        attributes |= _of_the_request(record.request)
    if record.answer_id is not None and record.request is not None:
        attributes |= {"gen_ai.response.id": record.answer_id, "gen_ai.response.model": record.request.model}
    if (tokens := record.tokens) is not None:
        attributes |= {
            "gen_ai.usage.input_tokens": tokens.prompt,
            "gen_ai.usage.cache_read.input_tokens": tokens.cached,
            "gen_ai.usage.output_tokens": tokens.completion,
        }
    if record.finish_reasons:
        attributes["gen_ai.response.finish_reasons"] = record.finish_reasons
    if (times := record.times) is not None and times.first_token is not None:
        attributes["gen_ai.response.time_to_first_chunk"] = times.first_token - access.began
    if access.outcome != OK:
        attributes["error.type"] = access.outcome
    return attributes


def _of_the_door(access: Access) -> dict[str, Any]:
    if access.method == "gRPC":
        method, status = access.path[1:], str(access.status)
        return {"rpc.system.name": "grpc", "rpc.method": method, "rpc.response.status_code": status}
    return {
        "http.request.method": access.method,
        "http.route": access.path,
        "url.path": access.path,
        "http.response.status_code": access.status,
    }


def _of_the_request(request: CompletionRequest | ChatRequest) -> dict[str, Any]:
    """Return what was asked, but for texts."""
    field, most = request.wanted
    asked = {
        "model": request.model,
        "max_tokens": most if field.startswith("max") else None,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "top_k": request.top_k if request.top_k > 0 else None,
        "frequency_penalty": request.frequency_penalty,
        "presence_penalty": request.presence_penalty,
        "seed": request.seed,
        "choice.count": request.n if request.n > 1 else None,
        "stream": request.stream or None,
    }
    return {f"gen_ai.request.{name}": value for name, value in asked.items() if value is not None}
