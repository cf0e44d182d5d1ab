"""How the gRPC door refuses: the status, the field and the details."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
from google.rpc.error_details_pb2 import (  # type: ignore[import-untyped]
    BadRequest,
    ErrorInfo,
    RetryInfo,
)

from engine.errors import QueueFullError
from engine.pb.nucleus.v1 import completions_pb2 as pb
from engine.pb.nucleus.v1 import completions_pb2_grpc as pb_grpc
from engine.serving.auth import ApiKeys
from engine.serving.grpc import SERVICE_NAME
from engine.serving.grpc_limits import GrpcLimits
from tests.grpc.calls import CODE, FRANCE, create, details, error_of, raw_call, serving, stub_of, text, tokens

if TYPE_CHECKING:
    import grpc

    from engine.service.service import CompletionService

    Stub = pb_grpc.CompletionServiceAsyncStub

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
    reason = "CONTEXT_LENGTH_EXCEEDED" if case == "max_tokens huge" else "INVALID_REQUEST_ERROR"
    assert (info.reason, info.domain) == (reason, "nucleus")
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
    async with serving(service, ApiKeys(), limits=GrpcLimits(max_message_bytes=1000)) as channel:
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
