"""Spans of OpenTelemetry: one for each request that is generated for, through both doors."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
import httpx2
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Sampler
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes
from opentelemetry.trace import SpanKind, StatusCode
from smg_grpc_proto.generated.vllm_engine_pb2_grpc import VllmEngineStub

from engine.errors import InvalidRequestError
from engine.pb.nucleus.v1 import completions_pb2 as pb
from engine.serving.access_log import AccessLog
from engine.serving.auth import ApiKeys
from engine.serving.exchange import CHAT_PATH
from engine.serving.tracing import Tracing, tracing_from_environment
from tests.edge.access import access_lines
from tests.edge.servers import ASK, PATH, served
from tests.grpc.calls import serving, stub_of
from tests.grpc.worker_calls import request as request_of
from tests.process import PATIENCE, nucleus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from opentelemetry.sdk.trace import ReadableSpan

    from tests.edge.access import Lines
    from tests.edge.servers import Served

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"


class Traced:
    """A server with both doors, and the spans that it has written."""

    def __init__(self, server: Served, channel: grpc.aio.Channel, lines: Lines) -> None:
        self.server, self.channel, self.lines = server, channel, lines

    async def http(self, body: Any = ASK, path: str = PATH, **headers: str) -> None:
        await self.server.client.post(path, json=body, headers=headers)

    async def grpc(self, *metadata: tuple[str, str], **fields: Any) -> None:
        request = pb.CompletionRequest(
            model="fake", prompt=pb.Prompt(text="ABC"), **({"max_tokens": 2, "seed": 1} | fields)
        )
        call = stub_of(self.channel).StreamCompletion(
            pb.StreamCompletionRequest(request=request), metadata=metadata
        )
        async for _ in call:
            pass

    async def as_worker(self, *metadata: tuple[str, str]) -> None:
        request = request_of([5, 6, 7, 8], stream=True, max_tokens=2, seed=1)
        async for _ in VllmEngineStub(self.channel).Generate(request, metadata=metadata):
            pass


@asynccontextmanager
async def traced(exporter: InMemorySpanExporter, sampler: Sampler | None = None) -> AsyncIterator[Traced]:
    provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    access_log = AccessLog(tracing=Tracing(provider))
    with access_lines() as lines:
        async with (
            served(access_log=access_log) as server,
            serving(server.service, ApiKeys(), access_log=access_log) as channel,
        ):
            yield Traced(server, channel, lines)


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


def spans_of(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    spans = exporter.get_finished_spans()
    named = {span.name: span for span in spans}
    assert len(named) == len(spans)
    exporter.clear()
    return named


def attributes_of(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


ASKED: list[tuple[str, Callable[[Traced], Awaitable[None]], dict[str, Any]]] = [
    (
        "text_completion",
        lambda traced: traced.http(traceparent=TRACEPARENT),
        {
            "http.request.method": "POST",
            "http.route": PATH,
            "url.path": PATH,
            "http.response.status_code": 200,
        },
    ),
    (
        "text_completion",
        lambda traced: traced.grpc(("traceparent", TRACEPARENT)),
        {
            "rpc.system.name": "grpc",
            "rpc.method": "nucleus.v1.CompletionService/StreamCompletion",
            "rpc.response.status_code": "OK",
            "gen_ai.request.stream": True,
        },
    ),
    (
        "text_completion",
        lambda traced: traced.as_worker(("traceparent", TRACEPARENT)),
        {
            "rpc.system.name": "grpc",
            "rpc.method": "vllm.grpc.engine.VllmEngine/Generate",
            "rpc.response.status_code": "OK",
            "gen_ai.request.stream": True,
        },
    ),
    (
        "chat",
        lambda traced: traced.http(
            {"model": "fake", "messages": [{"role": "user", "content": "AB"}], "max_tokens": 2, "seed": 1},
            CHAT_PATH,
            traceparent=TRACEPARENT,
        ),
        {
            "http.request.method": "POST",
            "http.route": CHAT_PATH,
            "url.path": CHAT_PATH,
            "http.response.status_code": 200,
        },
    ),
]


@pytest.mark.parametrize(("operation", "ask", "own"), ASKED, ids=["http", "grpc", "worker", "chat"])
async def test_a_request_is_a_span_with_its_phases_inside(
    exporter: InMemorySpanExporter,
    operation: str,
    ask: Callable[[Traced], Awaitable[None]],
    own: dict[str, Any],
) -> None:
    async with traced(exporter) as server:
        await ask(server)
        line = await server.lines.next()
        spans = spans_of(exporter)
    assert set(spans) == {f"{operation} fake", "queue", "prefill", "decode"}
    span = spans.pop(f"{operation} fake")
    assert (span.kind, span.status.status_code) == (SpanKind.SERVER, StatusCode.UNSET)
    assert span.parent is not None
    assert (f"{span.parent.trace_id:032x}", f"{span.parent.span_id:016x}") == (TRACE, PARENT)
    assert line["trace_id"] == TRACE
    attributes = attributes_of(span)
    assert attributes.pop("gen_ai.response.id") == line["answer_id"]
    assert 0 < attributes.pop("gen_ai.response.time_to_first_chunk") < PATIENCE
    assert attributes == own | {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": "nucleus",
        "gen_ai.request.model": "fake",
        "gen_ai.request.max_tokens": 2,
        "gen_ai.request.seed": 1,
        "gen_ai.request.temperature": 1.0,
        "gen_ai.request.top_p": 1.0,
        "gen_ai.request.frequency_penalty": 0.0,
        "gen_ai.request.presence_penalty": 0.0,
        "gen_ai.response.model": "fake",
        "gen_ai.response.finish_reasons": ("length",),
        "gen_ai.usage.input_tokens": 4,
        "gen_ai.usage.cache_read.input_tokens": 0,
        "gen_ai.usage.output_tokens": 2,
        "client.address": "127.0.0.1",
        "nucleus.request_id": line["request_id"],
    }
    times = [span.start_time]
    for phase in ("queue", "prefill", "decode"):
        inner = spans[phase]
        assert inner.parent is not None
        assert span.context is not None
        assert inner.parent.span_id == span.context.span_id
        times += [inner.start_time, inner.end_time]
    times.append(span.end_time)
    assert None not in times
    assert times == sorted(times, key=lambda at: at or 0), "one behind the other, inside the request"


async def test_without_a_parent_each_request_begins_a_trace(exporter: InMemorySpanExporter) -> None:
    async with traced(exporter) as server:
        traces = set()
        for parent in ({}, {"traceparent": "nonsense"}, {"traceparent": f"00-{'0' * 32}-{PARENT}-01"}):
            await server.http(**parent)
            traces.add((await server.lines.next())["trace_id"])
            assert spans_of(exporter)["text_completion fake"].parent is None
        assert len(traces) == 3


async def test_a_client_that_does_not_want_its_trace_kept_gets_none(exporter: InMemorySpanExporter) -> None:
    async with traced(exporter) as server:
        await server.http(traceparent=f"00-{TRACE}-{PARENT}-00")
        assert (await server.lines.next())["trace_id"] == TRACE
        assert spans_of(exporter) == {}
    async with traced(exporter, ALWAYS_OFF) as server:
        await server.http()
        await server.lines.next()
        assert spans_of(exporter) == {}


async def test_what_is_refused_has_its_error_and_only_faults_of_ours_are_marked(
    exporter: InMemorySpanExporter,
) -> None:
    async with traced(exporter) as server:
        await server.http(ASK | {"temperature": 3})
        await server.lines.next()
        (span,) = spans_of(exporter).values()
        assert (span.name, span.status.status_code) == ("text_completion", StatusCode.UNSET)
        assert attributes_of(span)["error.type"] == "invalid_request_error"
        server.server.backend.faults[1] = RuntimeError("broken")
        with pytest.raises(grpc.aio.AioRpcError):
            await server.grpc()
        await server.lines.next()
        spans = spans_of(exporter)
        assert set(spans) == {"text_completion fake", "queue", "prefill"}
        span = spans["text_completion fake"]
        assert (attributes_of(span)["error.type"], span.status.status_code) == (
            "internal_error",
            StatusCode.ERROR,
        )
        assert attributes_of(span)["rpc.response.status_code"] == "INTERNAL"


async def test_a_client_that_leaves_the_queue_has_a_span_of_waiting(exporter: InMemorySpanExporter) -> None:
    async with traced(exporter) as server:
        server.server.backend.hold()
        running = asyncio.create_task(server.http(ASK | {"n": 4}))
        await server.server.backend.next_decode()
        waiting = asyncio.create_task(server.http())
        while server.server.service.engine.n_requests < 2:  # noqa: ASYNC110 - there is no other sign
            await asyncio.sleep(0)
        waiting.cancel()
        await server.lines.next()
        spans = spans_of(exporter)
        assert set(spans) == {"text_completion fake", "queue"}
        assert attributes_of(spans["text_completion fake"])["error.type"] == "cancelled"
        server.server.backend.open_gate()
        await running


async def test_other_routes_have_no_span(exporter: InMemorySpanExporter) -> None:
    async with traced(exporter) as server:
        for path in ("/health", "/v1/models", "/nowhere"):
            await server.server.client.get(path)
            assert "trace_id" not in await server.lines.next()
        await stub_of(server.channel).ListModels(pb.ListModelsRequest())
        assert "trace_id" not in await server.lines.next()
        assert spans_of(exporter) == {}


async def test_no_text_is_in_a_span(exporter: InMemorySpanExporter) -> None:
    async with traced(exporter) as server:
        fields = {"prompt": "SECRET", "stop": ["SECRET"], "user": "SECRET"}
        await server.http(ASK | fields)
        await server.lines.next()
        assert "SECRET" not in "".join(span.to_json() for span in exporter.get_finished_spans())


async def test_a_sampler_that_fails_costs_nobody_an_answer(exporter: InMemorySpanExporter) -> None:
    class Broken(Sampler):
        def should_sample(self, *_: Any, **__: Any) -> Any:
            raise RuntimeError

        def get_description(self) -> str:
            return "broken"

    async with traced(exporter, Broken()) as server:
        assert (await server.server.client.post(PATH, json=ASK)).status_code == 200
        assert (await server.lines.next_record())[1]["outcome"] == "ok"


async def test_names_are_those_of_the_conventions(exporter: InMemorySpanExporter) -> None:
    known = {value for value in vars(gen_ai_attributes).values() if isinstance(value, str)}
    async with traced(exporter) as server:
        body = ASK | {"n": 2, "top_k": 3, "stream": True}
        await server.http(body)
        await server.lines.next()
        names = attributes_of(spans_of(exporter)["text_completion fake"]).keys()
    ours = {name for name in names if name.startswith("gen_ai.")}
    assert {"gen_ai.request.choice.count", "gen_ai.request.top_k", "gen_ai.request.stream"} <= ours
    assert ours <= known


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"},
        {"OTEL_TRACES_EXPORTER": "console", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
    ],
)
def test_nobody_asks_for_traces(environment: dict[str, str]) -> None:
    assert tracing_from_environment(environment) is None


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        (
            {"OTEL_TRACES_EXPORTER": "cosnole"},
            "OTEL_TRACES_EXPORTER should be one of otlp, .*console.*'cosnole'",
        ),
        (
            {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"},
            "OTEL_EXPORTER_OTLP_PROTOCOL should be one of grpc, http/protobuf, not 'http/json'",
        ),
    ],
)
def test_a_variable_that_cannot_be_is_refused(environment: dict[str, str], said: str) -> None:
    with pytest.raises(InvalidRequestError, match=said):
        tracing_from_environment(environment)


NOTHING = """
import sys
from engine.serving import server
from engine.serving.tracing import tracing_from_environment

assert tracing_from_environment({}) is None
sdk = ("opentelemetry.sdk", "opentelemetry.exporter")  # FastAPI imports the API
assert not [name for name in sys.modules if name.startswith(sdk)]
sys.modules["opentelemetry.sdk"] = None  # as if it were not installed
assert tracing_from_environment({"OTEL_TRACES_EXPORTER": "console"}) is None
"""


def test_nothing_is_imported_and_a_missing_package_is_named() -> None:
    done = subprocess.run([sys.executable, "-c", NOTHING], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "there will be no traces" in done.stderr
    assert "pip install 'nucleus-engine[otel]'" in done.stderr


def test_a_real_server_writes_what_the_variables_ask_for() -> None:
    """To its own output, and no collector is there that could be sent the same: neither holds up the end."""
    environment = {
        "OTEL_TRACES_EXPORTER": "console,otlp",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1",
        "OTEL_SERVICE_NAME": "mine",
        "OTEL_TRACES_SAMPLER": "always_on",
    }
    with nucleus(environment=environment) as server:
        body = {"model": "smollm2-135m-instruct", "prompt": "A", "max_tokens": 2}
        answer = httpx2.post(f"{server.address('HTTP')}{PATH}", json=body, timeout=PATIENCE)
        assert answer.status_code == 200
        server.signal()
        server.end()
    printed = "\n".join(server.lines)
    assert '"name": "text_completion smollm2-135m-instruct"' in printed
    assert '"service.name": "mine"' in printed
    assert '"gen_ai.usage.output_tokens": 2' in printed
