"""The gRPC door: a real server on a real port, over the real model."""

from __future__ import annotations

import asyncio
import math
import threading
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import grpc
import pytest
from google.rpc.error_details_pb2 import (  # type: ignore[import-untyped]
    BadRequest,
    ErrorInfo,
    RetryInfo,
)
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status

from engine.contract.responses import Completion, Usage
from engine.errors import AddressError, QueueFullError
from engine.pb.nucleus.v1 import completions_pb2 as pb
from engine.pb.nucleus.v1 import completions_pb2_grpc as pb_grpc
from engine.serving.auth import ApiKeys
from engine.serving.grpc import SERVICE_NAME, GrpcServer, start_grpc
from engine.serving.wire import fields_of
from tests.answers import raw

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from engine.contract.responses import Choice
    from engine.service.service import CompletionService

    Stub = pb_grpc.CompletionServiceAsyncStub

HOST = "127.0.0.1"
KEY = (("authorization", "Bearer sk-test"),)
CODE = grpc.StatusCode
PATIENCE = 60.0  # never waited for where things work


@asynccontextmanager
async def serving(
    service: CompletionService, keys: ApiKeys, **options: Any
) -> AsyncIterator[grpc.aio.Channel]:
    server = await start_grpc(service, keys, host=HOST, port=0, **options)
    async with grpc.aio.insecure_channel(f"{HOST}:{server.port}") as channel:
        yield channel
    await server.stop()


@pytest.fixture(scope="module")
async def channel(service: CompletionService) -> AsyncIterator[grpc.aio.Channel]:
    async with serving(service, ApiKeys()) as channel:
        yield channel


@pytest.fixture(scope="module")
async def locked(service: CompletionService) -> AsyncIterator[grpc.aio.Channel]:
    async with serving(service, ApiKeys(["sk-test"])) as channel:
        yield channel


@pytest.fixture(scope="module")
def stub(channel: grpc.aio.Channel) -> Stub:
    return stub_of(channel)


def stub_of(channel: grpc.aio.Channel) -> Stub:
    return pb_grpc.CompletionServiceStub(channel)


def text(prompt: str) -> pb.Prompt:
    return pb.Prompt(text=prompt)


def tokens(*ids: int) -> pb.Prompt:
    return pb.Prompt(tokens=pb.TokenList(values=ids))


FRANCE = text("The capital of France is")


@pytest.fixture(scope="module")
def model(service: CompletionService) -> str:
    return service.name


async def create(stub: Stub, request: pb.CompletionRequest) -> pb.Completion:
    return (await stub.CreateCompletion(pb.CreateCompletionRequest(request=request))).completion


async def stream(stub: Stub, request: pb.CompletionRequest) -> list[pb.CompletionChunk]:
    call = stub.StreamCompletion(pb.StreamCompletionRequest(request=request))
    return [response.chunk async for response in call]


def raw_call(
    channel: grpc.aio.Channel, method: str, body: bytes = b"", metadata: tuple[tuple[str, str], ...] = ()
) -> Any:
    """Call any method with the bytes of one message; on the wire all kinds of method look alike."""
    return cast("Any", channel).unary_stream(method)(body, metadata=metadata)


async def error_of(call: Any) -> grpc.aio.AioRpcError:
    """Return how a unary call, or a stream before its first message, fails."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await (call if hasattr(call, "__await__") else call.read())
    return caught.value


def details(error: grpc.aio.AioRpcError, kind: Any) -> Any:
    """Return the one detail of a kind, or None."""
    status = cast("Any", rpc_status.from_call(cast("Any", error)))
    found = [kind.FromString(detail.value) for detail in status.details if detail.Is(kind.DESCRIPTOR)]
    assert len(found) <= 1
    return found[0] if found else None


def plain(choice: pb.Choice) -> dict[str, Any]:
    """A choice in Python's form, to compare with the contract's."""
    reasons = {pb.FINISH_REASON_STOP: "stop", pb.FINISH_REASON_LENGTH: "length"}
    entries = choice.logprobs.tokens
    return {
        "text": choice.text,
        "index": choice.index,
        "finish_reason": reasons.get(choice.finish_reason),
        "tokens": [entry.token for entry in entries],
        "token_ids": [entry.token_id for entry in entries],
        "token_bytes": [entry.token_bytes for entry in entries],
        "token_logprobs": [entry.logprob if entry.HasField("logprob") else None for entry in entries],
        "top_logprobs": [[(top.token, top.logprob) for top in entry.top_logprobs] for entry in entries],
        "text_offset": [entry.text_offset for entry in entries],
    }


def expected(choice: Choice) -> dict[str, Any]:
    plain: dict[str, Any] = {"text": choice.text, "index": choice.index}
    plain["finish_reason"] = choice.finish_reason
    for name in ("tokens", "token_ids", "token_bytes", "token_logprobs", "text_offset"):
        plain[name] = getattr(choice.logprobs, name, [])
    tops = choice.logprobs.top_logprobs if choice.logprobs else []
    plain["top_logprobs"] = (
        [[] for _ in plain["tokens"]] if tops is None else [list((top or {}).items()) for top in tops]
    )
    return plain


def joined(chunks: list[pb.CompletionChunk]) -> list[dict[str, Any]]:
    """Put the choices of a stream together."""
    choices: dict[int, dict[str, Any]] = {}
    for chunk in chunks:
        for piece in map(plain, chunk.choices):
            whole = choices.setdefault(piece["index"], piece)
            if whole is not piece:
                assert whole["finish_reason"] is None
                for name, value in piece.items():
                    whole[name] = value if name in ("index", "finish_reason") else whole[name] + value
    return [choices[index] for index in sorted(choices)]


# --- answers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {"temperature": 0.0, "seed": 1},
        {"temperature": 1.2, "seed": 7, "n": 3, "presence_penalty": 0.5},
        {"temperature": 0.0, "seed": 1, "logprobs": 3},
        {
            "temperature": 0.9,
            "seed": -1,
            "logprobs": 0,
            "top_k": 20,
            "min_p": 0.01,
            "repetition_penalty": 1.1,
        },
        {"temperature": 0.0, "seed": 1, "stop": [" the", "\n"], "logit_bias": {42: -5.5}, "logprobs": 1},
    ],
    ids=",".join,
)
async def test_whole_stream_and_python_agree(
    stub: Stub, service: CompletionService, model: str, fields: dict[str, Any]
) -> None:
    request = pb.CompletionRequest(model=model, prompt=FRANCE, max_tokens=12, **fields)
    answer = await service.complete(
        service.parse({"model": model, "prompt": FRANCE.text, "max_tokens": 12, **fields})
    )
    whole = await create(stub, request)
    assert [plain(choice) for choice in whole.choices] == [expected(choice) for choice in answer.choices]
    assert joined(await stream(stub, request)) == [expected(choice) for choice in answer.choices]
    assert len(whole.choices) == fields.get("n", 1)
    assert whole.choices[0].HasField("logprobs") == ("logprobs" in fields)


async def test_alternatives_have_their_ids_and_bytes(
    stub: Stub, service: CompletionService, model: str
) -> None:
    prompt, backend = text("天气 is <|im_end|>"), service.engine.backend
    request = pb.CompletionRequest(model=model, prompt=prompt, max_tokens=8, seed=7, logprobs=5, echo=True)
    (choice,) = (await create(stub, request)).choices
    first, *entries = choice.logprobs.tokens
    assert not first.top_logprobs
    for entry in entries:
        tops = {top.token_id: top for top in entry.top_logprobs}
        assert 5 <= len(tops) == len(entry.top_logprobs) <= 6
        own = tops[entry.token_id]
        assert (own.token, own.token_bytes, own.logprob) == (entry.token, entry.token_bytes, entry.logprob)
        for token, top in tops.items():
            assert top.token_bytes == (backend.piece(token) or backend.special_text(token))
            assert top.token_bytes == raw(top.token)


async def test_an_answer_says_who_when_and_what_it_cost(stub: Stub, model: str) -> None:
    whole = await create(stub, pb.CompletionRequest(model=model, prompt=tokens(1, 2, 3), max_tokens=2, n=2))
    assert whole.id.startswith("cmpl-")
    assert whole.created > 1_700_000_000
    assert whole.model == model
    usage = whole.usage
    assert usage.prompt_tokens == 3
    assert usage.total_tokens == 3 + usage.completion_tokens
    assert usage.HasField("prompt_tokens_details")


async def test_every_form_of_a_prompt(stub: Stub, service: CompletionService, model: str) -> None:
    ids = service.engine.backend.tokenize(FRANCE.text)
    forms = {
        "text": FRANCE,
        "texts": pb.Prompt(texts=pb.TextList(values=[FRANCE.text])),
        "tokens": tokens(*ids),
        "token_lists": pb.Prompt(token_lists=pb.TokenLists(values=[pb.TokenList(values=ids)] * 2)),
    }
    answers = {
        name: await create(stub, pb.CompletionRequest(model=model, prompt=form, max_tokens=4, temperature=0))
        for name, form in forms.items()
    }
    assert {choice.text for answer in answers.values() for choice in answer.choices} == {
        answers["text"].choices[0].text
    }
    assert [len(answer.choices) for answer in answers.values()] == [1, 1, 1, 2]


async def test_a_chat(stub: Stub, service: CompletionService, model: str) -> None:
    messages = [{"role": "user", "content": "Say hello."}]
    fields: dict[str, Any] = {"model": model, "max_tokens": 6, "temperature": 0.0}
    answer = await service.complete(service.parse({**fields, "messages": messages}))
    request = pb.CompletionRequest(**fields, messages=[pb.Message(**message) for message in messages])
    assert (await create(stub, request)).choices[0].text == answer.choices[0].text


async def test_a_stream_ends_with_its_usage_when_asked(stub: Stub, model: str) -> None:
    request = pb.CompletionRequest(
        model=model, prompt=FRANCE, max_tokens=3, stream_options=pb.StreamOptions(include_usage=True)
    )
    *chunks, last = await stream(stub, request)
    assert not last.choices
    assert last.usage.total_tokens == last.usage.prompt_tokens + last.usage.completion_tokens
    assert not any(chunk.HasField("usage") for chunk in chunks)
    assert {chunk.id for chunk in chunks} == {last.id}
    request.stream_options.include_usage = False
    assert not any(chunk.HasField("usage") for chunk in await stream(stub, request))


async def test_models(stub: Stub, service: CompletionService) -> None:
    [listed] = (await stub.ListModels(pb.ListModelsRequest())).models
    [card] = service.models().data
    for name in ("id", "created", "owned_by", "max_model_len", "n_vocab"):
        assert getattr(listed, name) == getattr(card, name)


# --- unset, zero and empty ---------------------------------------------------------------------------------


def test_unset_is_not_zero() -> None:
    assert fields_of(pb.CompletionRequest()) == {}
    zeros = {"temperature": 0.0, "max_tokens": 0, "logprobs": 0, "echo": False, "model": "", "seed": 0}
    assert fields_of(pb.CompletionRequest(**cast("Any", zeros))) == zeros


def test_every_form_becomes_plain_values() -> None:
    request = pb.CompletionRequest(
        prompt=pb.Prompt(token_lists=pb.TokenLists(values=[pb.TokenList(values=[1, 2]), pb.TokenList()])),
        messages=[pb.Message(role="user", content="")],
        logit_bias={-1: math.inf},
        stop=["a", ""],
        stop_token_ids=[3],
        stream_options=pb.StreamOptions(include_usage=False),
    )
    assert fields_of(request) == {
        "prompt": [[1, 2], []],
        "messages": [{"role": "user", "content": ""}],
        "logit_bias": {-1: math.inf},
        "stop": ["a", ""],
        "stop_token_ids": [3],
        "stream_options": {"include_usage": False},
    }


def test_the_wire_has_every_field_of_the_contract() -> None:
    from engine.contract.requests import CompletionRequest, Message, StreamOptions

    wire = set(pb.CompletionRequest.DESCRIPTOR.fields_by_name)
    assert wire == set(CompletionRequest.model_fields) - {"stream"}
    assert set(pb.Message.DESCRIPTOR.fields_by_name) == set(Message.model_fields)
    assert set(pb.StreamOptions.DESCRIPTOR.fields_by_name) >= set(StreamOptions.model_fields)


def test_every_scalar_of_a_request_knows_whether_it_is_set() -> None:
    for message in (pb.CompletionRequest, pb.Message, pb.StreamOptions, pb.Prompt):
        for field in message.DESCRIPTOR.fields:
            assert field.is_repeated or field.has_presence, field.full_name


async def test_the_defaults_are_the_contracts(stub: Stub, service: CompletionService, model: str) -> None:
    banned = dict.fromkeys(service.engine.backend.info.eog_tokens, -100.0)
    whole = await create(stub, pb.CompletionRequest(model=model, prompt=FRANCE, logit_bias=banned))
    assert whole.usage.completion_tokens == 16
    assert len(whole.choices) == 1


# --- errors ------------------------------------------------------------------------------------------------

REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "temperature 3": ({"temperature": 3.0}, "temperature", "3.0"),
    "temperature nan": ({"temperature": math.nan}, "temperature", "finite"),
    "temperature inf": ({"temperature": math.inf}, "temperature", "finite"),
    "top_p -inf": ({"top_p": -math.inf}, "top_p", "finite"),
    "max_tokens 0": ({"max_tokens": 0}, "max_tokens", "0"),
    "max_tokens huge": ({"max_tokens": 1 << 30}, "max_tokens", str(1 << 30)),
    "n 0": ({"n": 0}, "n", "0"),
    "n huge": ({"n": 1 << 62}, "n", str(1 << 62)),
    "logprobs 6": ({"logprobs": 6}, "logprobs", "6"),
    "token -1": ({"prompt": tokens(5, -1)}, "prompt", "-1"),
    "token 2^31": ({"prompt": tokens(1 << 31)}, "prompt", str(1 << 31)),
    "no tokens": ({"prompt": tokens()}, "prompt", "empty"),
    "no texts": ({"prompt": pb.Prompt(texts=pb.TextList())}, "prompt", "empty"),
    "no token lists": ({"prompt": pb.Prompt(token_lists=pb.TokenLists())}, "prompt", "empty"),
    "an empty token list": (
        {"prompt": pb.Prompt(token_lists=pb.TokenLists(values=[pb.TokenList()]))},
        "prompt",
        "empty",
    ),
    "no form": ({"prompt": pb.Prompt()}, "prompt", "neither"),
    "both": ({"messages": [pb.Message(role="user", content="Hi")]}, "prompt", "both"),
    "bias nan": ({"logit_bias": {1: math.nan}}, "logit_bias", "finite"),
    "bias -1": ({"logit_bias": {-1: 1.0}}, "logit_bias", "-1"),
    "bias 2^31": ({"logit_bias": {1 << 31: 1.0}}, "logit_bias", str(1 << 31)),
    "empty stop": ({"stop": [""]}, "stop", "1 character"),
    "five stops": ({"stop": list("abcde")}, "stop", "5"),
    "no model": ({"model": None}, "model", "required"),
    "unnamed model": ({"model": ""}, "model", "1 character"),
    "suffix": ({"suffix": "x"}, "suffix", "fill-in-the-middle"),
    "best_of 0": ({"best_of": 0}, "best_of", "0"),
    "best_of 21": ({"best_of": 21}, "best_of", "21"),
    "best_of below n": ({"n": 3, "best_of": 2}, "best_of", "3"),
    "stop token -1": ({"stop_token_ids": [-1]}, "stop_token_ids", "-1"),
    "stop token 2^31": ({"stop_token_ids": [1 << 31]}, "stop_token_ids", str(1 << 31)),
    "min_tokens 17": ({"min_tokens": 17}, "min_tokens", "17"),
}


@pytest.mark.parametrize("method", ["CreateCompletion", "StreamCompletion"])
@pytest.mark.parametrize("case", REFUSED)
async def test_a_bad_field_is_named(stub: Stub, model: str, case: str, method: str) -> None:
    fields, name, part = REFUSED[case]
    request = pb.CompletionRequest(**{"model": model, "prompt": FRANCE, **fields})
    kind = getattr(pb, f"{method}Request")
    error = await error_of(getattr(stub, method)(kind(request=request)))
    assert error.code() is CODE.INVALID_ARGUMENT
    assert part in (error.details() or "")
    [violation] = details(error, BadRequest).field_violations
    assert violation.field == name
    assert part in violation.description
    info = details(error, ErrorInfo)
    assert (info.reason, info.domain) == ("INVALID_REQUEST_ERROR", "nucleus")
    assert details(error, RetryInfo) is None


async def test_token_ids_are_checked_against_the_logits_width(
    stub: Stub, service: CompletionService, model: str
) -> None:
    n_vocab = service.engine.backend.info.n_vocab
    request = pb.CompletionRequest(model=model, prompt=tokens(n_vocab - 1), max_tokens=1)
    assert len((await create(stub, request)).choices) == 1
    request.prompt.CopyFrom(tokens(n_vocab))
    error = await error_of(stub.CreateCompletion(pb.CreateCompletionRequest(request=request)))
    assert error.code() is CODE.INVALID_ARGUMENT
    assert str(n_vocab) in (error.details() or "")


async def test_an_unknown_model_in_any_script(stub: Stub) -> None:
    request = pb.CompletionRequest(model="天气-4", prompt=FRANCE)
    error = await error_of(stub.CreateCompletion(pb.CreateCompletionRequest(request=request)))
    assert error.code() is CODE.NOT_FOUND
    assert "天气-4" in (error.details() or "")
    assert details(error, ErrorInfo).reason == "MODEL_NOT_FOUND"


async def test_stream_options_without_a_stream(stub: Stub, model: str) -> None:
    request = pb.CompletionRequest(model=model, prompt=FRANCE, stream_options=pb.StreamOptions())
    error = await error_of(stub.CreateCompletion(pb.CreateCompletionRequest(request=request)))
    assert details(error, BadRequest).field_violations[0].field == "stream_options"


async def test_an_empty_request(stub: Stub) -> None:
    error = await error_of(stub.CreateCompletion(pb.CreateCompletionRequest()))
    assert error.code() is CODE.INVALID_ARGUMENT
    assert details(error, BadRequest).field_violations[0].field == "model"


@pytest.mark.parametrize("body", [b"\xff\xff", b"\x0a\x05\x0a\x03a\xffb"], ids=["garbage", "not UTF-8"])
async def test_a_malformed_message_is_the_callers_fault(channel: grpc.aio.Channel, body: bytes) -> None:
    error = await error_of(raw_call(channel, f"/{SERVICE_NAME}/CreateCompletion", body))
    assert error.code() is CODE.INVALID_ARGUMENT
    assert details(error, ErrorInfo).reason == "INVALID_REQUEST_ERROR"


async def test_a_message_beyond_the_limit(service: CompletionService, model: str) -> None:
    async with serving(service, ApiKeys(), max_message_bytes=1000) as channel:
        request = pb.CompletionRequest(model=model, prompt=text("a" * 2000))
        error = await error_of(stub_of(channel).CreateCompletion(pb.CreateCompletionRequest(request=request)))
    assert error.code() is CODE.RESOURCE_EXHAUSTED


async def test_a_full_queue_says_when_to_come_back(
    stub: Stub, service: CompletionService, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_prompts: object) -> None:
        raise QueueFullError("1 requests wait or run already, the limit.")

    monkeypatch.setattr(service.engine, "submit", refuse)
    request = pb.CompletionRequest(model=model, prompt=FRANCE)
    error = await error_of(stub.StreamCompletion(pb.StreamCompletionRequest(request=request)))
    assert error.code() is CODE.RESOURCE_EXHAUSTED
    assert details(error, ErrorInfo).reason == "QUEUE_FULL"
    assert details(error, RetryInfo).retry_delay.seconds == QueueFullError.retry_after


async def test_our_own_fault_keeps_its_secrets(
    stub: Stub, service: CompletionService, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise KeyError("secret")

    monkeypatch.setattr(service, "models", fail)
    error = await error_of(stub.ListModels(pb.ListModelsRequest()))
    assert error.code() is CODE.INTERNAL
    assert "secret" not in (error.details() or "")
    assert details(error, ErrorInfo).reason == "INTERNAL_ERROR"
    assert "secret" in caplog.text


# --- keys, ids, health and reflection ----------------------------------------------------------------------


async def reflected(channel: grpc.aio.Channel) -> list[str]:
    reflection: Any = reflection_pb2_grpc.ServerReflectionStub(cast("Any", channel))
    asked = reflection_pb2.ServerReflectionRequest(list_services="")
    answer = await reflection.ServerReflectionInfo(iter([asked]), metadata=KEY).read()
    return [found.name for found in answer.list_services_response.service]


def methods_of(name: str) -> list[str]:
    from google.protobuf.descriptor_pool import Default

    service = Default().FindServiceByName(name)
    return [f"/{name}/{method.name}" for method in service.methods]


HEADERS: dict[str, tuple[tuple[str, str], ...]] = {
    "none": (),
    "wrong": (("authorization", "Bearer sk-wrong"),),
    "bare": (("authorization", "sk-test"),),
    "empty": (("authorization", "Bearer "),),
    "elsewhere": (("x-api-key", "sk-test"),),
}


@pytest.mark.parametrize("header", HEADERS)
async def test_every_method_but_health_wants_the_key(locked: grpc.aio.Channel, header: str) -> None:
    services = await reflected(locked)
    methods = [method for service in services for method in methods_of(service)]
    assert len(methods) >= 7
    guarded = [method for method in methods if not method.startswith("/grpc.health.v1.Health/")]
    assert len(guarded) >= 4
    for method in [*guarded, "/nucleus.v1.CompletionService/Nothing", "//grpc.health.v1.Health/Check"]:
        error = await error_of(raw_call(locked, method, metadata=HEADERS[header]))
        assert error.code() is CODE.UNAUTHENTICATED, method
        assert details(error, ErrorInfo).reason == "INVALID_API_KEY"


async def test_the_key_opens(locked: grpc.aio.Channel, model: str) -> None:
    stub = stub_of(locked)
    assert (await stub.ListModels(pb.ListModelsRequest(), metadata=KEY)).models
    request = pb.CompletionRequest(model=model, prompt=FRANCE, max_tokens=1)
    assert await stub.CreateCompletion(pb.CreateCompletionRequest(request=request), metadata=KEY)
    chunks = stub.StreamCompletion(pb.StreamCompletionRequest(request=request), metadata=KEY)
    assert [chunk async for chunk in chunks]


async def test_an_unknown_method_behind_the_key(locked: grpc.aio.Channel) -> None:
    error = await error_of(raw_call(locked, "/nucleus.v1.CompletionService/Nothing", metadata=KEY))
    assert error.code() is CODE.UNIMPLEMENTED


async def test_the_request_id_comes_back(channel: grpc.aio.Channel, locked: grpc.aio.Channel) -> None:
    async def request_id(channel: grpc.aio.Channel, *given: tuple[str, str]) -> Any:
        call = stub_of(channel).ListModels(pb.ListModelsRequest(), metadata=given)
        await call.code()
        return dict(cast("Any", await call.initial_metadata())).get("x-request-id")

    assert await request_id(channel, ("x-request-id", "mine-1")) == "mine-1"
    assert await request_id(locked, ("x-request-id", "mine-2")) == "mine-2"  # refused calls too
    made = [await request_id(channel) for _ in range(2)]
    assert all(made)
    assert made[0] != made[1]


async def test_reflection_tells_the_services(locked: grpc.aio.Channel) -> None:
    services = await reflected(locked)
    assert set(services) == {
        "nucleus.v1.CompletionService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }


async def test_health_is_open_and_serving(locked: grpc.aio.Channel) -> None:
    health: Any = health_pb2_grpc.HealthStub(locked)
    for name in ("", "nucleus.v1.CompletionService"):
        answer = await health.Check(health_pb2.HealthCheckRequest(service=name))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    error = await error_of(health.Check(health_pb2.HealthCheckRequest(service="nucleus.v1.Other")))
    assert error.code() is CODE.NOT_FOUND


async def test_health_turns_red_with_the_engine_and_ends_its_watches_at_the_stop() -> None:
    service = SimpleNamespace(is_ready=True)
    server: GrpcServer = await start_grpc(cast("Any", service), ApiKeys(), host=HOST, port=0)
    async with grpc.aio.insecure_channel(f"{HOST}:{server.port}") as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        watch = health.Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        service.is_ready = False
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        answer = await health.Check(health_pb2.HealthCheckRequest())
        assert answer.status == health_pb2.HealthCheckResponse.NOT_SERVING
        service.is_ready = True
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        stopping = asyncio.create_task(server.stop(PATIENCE))
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert await watch.read() is grpc.aio.EOF
        await stopping


async def test_a_port_in_use_is_an_error(service: CompletionService) -> None:
    first = await start_grpc(service, ApiKeys(), host=HOST, port=0)
    try:
        with pytest.raises(AddressError, match=f"{HOST}:{first.port}"):
            await start_grpc(service, ApiKeys(), host=HOST, port=first.port)
    finally:
        await first.stop()


class Slow:
    """A service whose answer comes when it is let, and that knows how its call ended."""

    def __init__(self) -> None:
        self.began, self.may_answer, self.ended = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.parse, self.token_texts = dict, dict[int, str]()

    async def complete(self, *_args: object) -> Completion:
        self.began.set()
        try:
            await self.may_answer.wait()
        finally:
            self.ended.set()
        usage = Usage(prompt_tokens=0, completion_tokens=0, total_tokens=0)
        return Completion(id="cmpl-1", created=0, model="slow", choices=[], usage=usage)


@pytest.mark.parametrize("patient", [True, False])
async def test_the_stop_waits_for_running_calls_as_long_as_it_is_told(patient: bool) -> None:
    slow = Slow()
    server = await start_grpc(cast("Any", slow), ApiKeys(), host=HOST, port=0)
    async with grpc.aio.insecure_channel(f"{HOST}:{server.port}") as channel:
        call = asyncio.ensure_future(create(stub_of(channel), pb.CompletionRequest()))
        await asyncio.wait_for(slow.began.wait(), PATIENCE)
        stopping = asyncio.create_task(server.stop(PATIENCE if patient else 0))
        if patient:
            slow.may_answer.set()
            assert (await call).id == "cmpl-1"
        else:
            error = await error_of(call)
            assert error.code() in (CODE.UNAVAILABLE, CODE.CANCELLED)
        await stopping
        await asyncio.wait_for(slow.ended.wait(), PATIENCE)


# --- clients that leave ------------------------------------------------------------------------------------


class Watched:
    """An engine whose submissions and cancellations can be waited for, and whose model can be held up."""

    def __init__(self, service: CompletionService, monkeypatch: pytest.MonkeyPatch) -> None:
        engine = service.engine
        self._service = service
        self._submitted: asyncio.Queue[None] = asyncio.Queue()
        self._cancelled: asyncio.Queue[None] = asyncio.Queue()
        self._may_run = threading.Event()
        self.go()
        submit, cancel, decode = engine.submit, engine.cancel, engine.backend.decode

        def watched_submit(prompts: Any) -> Any:
            run = submit(prompts)
            self._submitted.put_nowait(None)
            return run

        def watched_cancel(run: Any) -> None:
            cancel(run)
            self._cancelled.put_nowait(None)

        def held_decode(batch: Any) -> Any:
            self._may_run.wait(PATIENCE)
            return decode(batch)

        monkeypatch.setattr(engine, "submit", watched_submit)
        monkeypatch.setattr(engine, "cancel", watched_cancel)
        monkeypatch.setattr(engine.backend, "decode", held_decode)

    def hold(self) -> None:
        self._may_run.clear()

    def go(self) -> None:
        self._may_run.set()

    async def submitted(self) -> None:
        await asyncio.wait_for(self._submitted.get(), PATIENCE)

    async def cancelled(self) -> None:
        """Wait until the engine was told to drop a request; one that ends by itself is never dropped."""
        await asyncio.wait_for(self._cancelled.get(), PATIENCE)

    async def drained(self) -> None:
        """Wait for one more request: commands are carried out in order, so by then all earlier ones are."""
        request = {"model": self._service.name, "prompt": [1], "max_tokens": 1}
        await self._service.complete(self._service.parse(request))
        await self.submitted()
        assert self._service.engine.n_requests == 0


@pytest.fixture
async def watched(service: CompletionService, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Watched]:
    watched = Watched(service, monkeypatch)
    await watched.drained()
    yield watched
    watched.go()


@pytest.fixture
def endless(service: CompletionService, model: str) -> pb.CompletionRequest:
    """A request for every slot that cannot end before its many tokens."""
    backend = service.engine.backend
    return pb.CompletionRequest(
        model=model,
        prompt=FRANCE,
        n=backend.n_slots,
        max_tokens=backend.n_cells // backend.n_slots - 32,
        logit_bias=dict.fromkeys(backend.info.eog_tokens, -100.0),
    )


@pytest.mark.parametrize("leave", ["cancel", "disconnect"])
async def test_leaving_in_mid_stream_frees_the_slots(
    service: CompletionService, watched: Watched, endless: pb.CompletionRequest, leave: str
) -> None:
    async with serving(service, ApiKeys()) as channel:
        call: Any = stub_of(channel).StreamCompletion(pb.StreamCompletionRequest(request=endless))
        assert (await call.read()).chunk.choices
        if leave == "cancel":
            call.cancel()
        else:
            await channel.close()
        await watched.cancelled()
        await watched.submitted()
        await watched.drained()


@pytest.mark.parametrize("method", ["CreateCompletion", "StreamCompletion"])
async def test_leaving_before_the_first_token_frees_the_slots(
    stub: Stub, watched: Watched, endless: pb.CompletionRequest, method: str
) -> None:
    watched.hold()
    kind = getattr(pb, f"{method}Request")
    call = getattr(stub, method)(kind(request=endless))
    waiting = asyncio.create_task(call.code())
    await watched.submitted()
    call.cancel()
    assert await waiting is CODE.CANCELLED
    await watched.cancelled()
    watched.go()
    await watched.drained()


async def test_leaving_the_queue(
    stub: Stub, service: CompletionService, watched: Watched, endless: pb.CompletionRequest
) -> None:
    first: Any = stub.StreamCompletion(pb.StreamCompletionRequest(request=endless))
    assert (await first.read()).chunk.choices  # it holds every slot
    await watched.submitted()
    second = stub.CreateCompletion(pb.CreateCompletionRequest(request=endless))
    waiting = asyncio.create_task(second.code())
    await watched.submitted()
    assert service.engine.n_requests == 2
    second.cancel()
    assert await waiting is CODE.CANCELLED
    await watched.cancelled()
    assert (await first.read()).chunk.choices  # the neighbour goes on
    first.cancel()
    await watched.cancelled()
    await watched.drained()


@pytest.mark.parametrize("method", ["CreateCompletion", "StreamCompletion"])
async def test_a_deadline_frees_the_slots(
    stub: Stub, watched: Watched, endless: pb.CompletionRequest, method: str
) -> None:
    watched.hold()  # so that the deadline passes on a machine of any speed
    kind = getattr(pb, f"{method}Request")
    error = await error_of(getattr(stub, method)(kind(request=endless), timeout=2.0))
    assert error.code() is CODE.DEADLINE_EXCEEDED
    await watched.submitted()
    await watched.cancelled()
    watched.go()
    await watched.drained()
