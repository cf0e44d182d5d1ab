"""A replica answers as a server does, over HTTP and gRPC, whoever brings the requests."""

from __future__ import annotations

import json
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo  # type: ignore[import-untyped]
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]
from grpc_health.v1 import health_pb2

from engine.deploy.grpc_calls import COMPLETIONS
from engine.deploy.grpc_methods import CallError
from engine.deploy.replica import Replica
from engine.errors import UnavailableError
from engine.pb.nucleus.v1 import completions_pb2 as pb
from tests.answers import joined
from tests.deploy.asking import Context, ask, messages

if TYPE_CHECKING:
    from engine.pb.nucleus.v1.completions_pb2 import CompletionRequest

KEY = (("authorization", "Bearer sk-test"),)
FIELDS = {"model": "tiny", "prompt": "abc", "max_tokens": 6, "seed": 1}


def request(**fields: Any) -> CompletionRequest:
    given: dict[str, Any] = FIELDS | fields
    return pb.CompletionRequest(**given | {"prompt": pb.Prompt(text=given["prompt"])})


async def test_both_doors_give_the_same_answer(replica: Replica) -> None:
    app = replica.__serve_build_asgi_app__()
    status, body = await ask(app, "/v1/completions", FIELDS, key="sk-test")
    (choice,) = json.loads(body)["choices"]
    context = Context(KEY)
    methods: Any = replica
    whole = await methods.CreateCompletion(pb.CreateCompletionRequest(request=request()), context)
    stream = methods.StreamCompletion(pb.StreamCompletionRequest(request=request()), context)
    chunks = [part.chunk.choices[0].text async for part in stream]
    assert (status, context.code) == (200, None)
    assert choice["text"] == whole.completion.choices[0].text == "".join(chunks)
    assert len(chunks) > 1


async def test_a_stream_comes_in_pieces(replica: Replica) -> None:
    app = replica.__serve_build_asgi_app__()
    _, whole = await ask(app, "/v1/completions", FIELDS, key="sk-test")
    asked = messages(app, "/v1/completions", FIELDS | {"stream": True}, key="sk-test")
    head, *rest = [message async for message in asked]
    events = [message["body"].removeprefix(b"data: ") for message in rest if message.get("body")]
    assert events.pop() == b"[DONE]\n\n"
    assert head["status"] == 200
    assert joined([json.loads(event) for event in events]) == json.loads(whole)["choices"]


@pytest.mark.parametrize("method", ["CreateCompletion", "StreamCompletion"])
async def test_a_refusal_has_its_code_and_as_a_whole_answer_its_details(
    replica: Replica, method: str
) -> None:
    context, kind = Context(KEY), getattr(pb, f"{method}Request")
    answer = getattr(replica, method)(kind(request=request(temperature=3)), context)
    if method == "CreateCompletion":
        await answer  # gRPC sends none beside an error
    else:
        with pytest.raises(CallError, match="'temperature' should be less than or equal to 2, not 3"):
            await anext(answer)
    assert context.code == grpc.StatusCode.INVALID_ARGUMENT
    assert context.details == "'temperature' should be less than or equal to 2, not 3.0."
    reason, field = ErrorInfo(), BadRequest()
    status = Status.FromString(dict(context.trailing)["grpc-status-details-bin"])
    for detail in status.details:
        assert detail.Unpack(reason) or detail.Unpack(field)
    assert (reason.reason, field.field_violations[0].field) == ("INVALID_REQUEST_ERROR", "temperature")


@pytest.mark.parametrize("key", [None, "sk-wrong"])
async def test_a_key_is_asked_for_at_both_doors(replica: Replica, key: str | None) -> None:
    status, _ = await ask(replica.__serve_build_asgi_app__(), "/v1/models", key=key)
    context = Context(() if key is None else (("authorization", f"Bearer {key}"),))
    methods: Any = replica
    await methods.ListModels(pb.ListModelsRequest(), context)
    assert (status, context.code) == (401, grpc.StatusCode.UNAUTHENTICATED)


def test_every_method_of_our_service_is_there() -> None:
    assert all(callable(getattr(Replica, method.name)) for method in COMPLETIONS.methods)


async def test_the_health_of_a_replica_is_that_of_its_engine(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    methods: Any = replica
    healthy = await methods.Check(health_pb2.HealthCheckRequest(), Context())
    assert healthy.status == health_pb2.HealthCheckResponse.SERVING
    replica.check_health()
    monkeypatch.setattr("engine.service.service.CompletionService.is_alive", False)
    with pytest.raises(UnavailableError):
        replica.check_health()


async def _running(replica: Replica) -> int:
    _, body = await ask(replica.__serve_build_asgi_app__(), "/state", key="sk-test")
    return len(json.loads(body)["slots"])


async def test_a_client_that_leaves_over_http_frees_its_slot(replica: Replica) -> None:
    app = replica.__serve_build_asgi_app__()
    endless = FIELDS | {"stream": True, "max_tokens": 8000, "ignore_eos": True}
    async with aclosing(messages(app, "/v1/completions", endless, key="sk-test")) as stream:
        await anext(stream)
        assert await _running(replica) == 1
    while await _running(replica):  # it is told between two steps
        pass


async def test_a_client_that_leaves_over_grpc_frees_its_slot(replica: Replica) -> None:
    asked, methods = request(max_tokens=8000, ignore_eos=True), replica
    stream = getattr(methods, "StreamCompletion")(pb.StreamCompletionRequest(request=asked), Context(KEY))  # noqa: B009
    async with aclosing(stream):
        await anext(stream)
        assert await _running(replica) == 1
    while await _running(replica):  # it is told between two steps
        pass
