"""The router hands a request to the model that it names, and stands by it when a replica dies."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from engine.deploy.options import DoorOptions
from engine.deploy.router import Router
from engine.pb.nucleus.v1 import completions_pb2 as pb
from tests.deploy.asking import Context, Handle, ask, messages
from tests.deploy.test_replica import FIELDS, KEY, request

if TYPE_CHECKING:
    from engine.deploy.replica import Replica

DOORS = DoorOptions(api_key=["sk-test"])


def routed(**handles: Handle) -> Any:
    """Return a router, which has methods that type checkers do not see."""
    return Router(DOORS, handles)


async def test_a_request_goes_to_the_model_that_it_names(replica: Replica) -> None:
    handles = {name: Handle(replica) for name in ("first", "tiny", "other")}
    router = routed(**handles)
    status, _ = await ask(router.__serve_build_asgi_app__(), "/v1/completions", FIELDS, key="sk-test")
    whole = await router.CreateCompletion(pb.CreateCompletionRequest(request=request()), Context(KEY))
    assert (status, whole.completion.model) == (200, "tiny")
    assert {name: len(handle.asked) for name, handle in handles.items()} == {
        "first": 0,
        "tiny": 2,
        "other": 0,
    }
    assert [asked.prompt for asked in handles["tiny"].asked] == ["abc", "abc"]


async def test_a_session_is_known_at_both_doors(replica: Replica) -> None:
    handle = Handle(replica)
    router, context = routed(tiny=handle), Context((*KEY, ("session_id", "one")))
    app, headers = router.__serve_build_asgi_app__(), ((b"x-session-id", b"two"),)
    await router.CreateCompletion(pb.CreateCompletionRequest(request=request()), context)
    async for _ in messages(app, "/v1/completions", FIELDS, key="sk-test", more=headers):
        pass
    assert [asked.session for asked in handle.asked] == ["one", "two"]


async def test_a_router_changes_nothing_in_an_answer(replica: Replica) -> None:
    app, alone = routed(tiny=Handle(replica)).__serve_build_asgi_app__(), replica.__serve_build_asgi_app__()
    for path, body in {
        "/v1/completions": FIELDS,
        "/tokenize": {"prompt": "abc"},
        "/nowhere": None,
        "/v1/models/tiny": None,
        "/v1/chat/completions": {"model": "tiny", "messages": "none"},
    }.items():
        told, known = [await ask(asked, path, body, key="sk-test") for asked in (app, alone)]
        if path == "/v1/completions":
            assert json.loads(told[1])["choices"] == json.loads(known[1])["choices"]
        else:
            assert told == known, path


async def test_all_models_are_listed_at_both_doors(replica: Replica) -> None:
    router = routed(first=Handle(replica), second=Handle(replica))
    status, body = await ask(router.__serve_build_asgi_app__(), "/v1/models", key="sk-test")
    listed = await router.ListModels(pb.ListModelsRequest(), Context(KEY))
    assert (status, [card["id"] for card in json.loads(body)["data"]]) == (200, ["tiny", "tiny"])
    assert [model.id for model in listed.models] == ["tiny", "tiny"]


async def test_a_list_needs_a_key(replica: Replica) -> None:
    router, context = routed(tiny=Handle(replica)), Context()
    status, _ = await ask(router.__serve_build_asgi_app__(), "/v1/models")
    await router.ListModels(pb.ListModelsRequest(), context)
    assert (status, context.code) == (401, grpc.StatusCode.UNAUTHENTICATED)


async def test_an_unknown_model_is_named_with_those_that_there_are(replica: Replica) -> None:
    handles = {"first": Handle(replica), "tiny": Handle(replica)}
    router, context = routed(**handles), Context(KEY)
    asked = FIELDS | {"model": "gpt"}
    status, body = await ask(router.__serve_build_asgi_app__(), "/v1/completions", asked, key="sk-test")
    await router.CreateCompletion(pb.CreateCompletionRequest(request=request(model="gpt")), context)
    says = "The model 'gpt' does not exist; this server serves 'first', 'tiny'."
    error = json.loads(body)["error"]
    assert (status, error["message"], error["param"]) == (404, says, "model")
    assert (context.code, context.details) == (grpc.StatusCode.NOT_FOUND, says)
    assert not handles["first"].asked


async def test_who_has_no_key_is_not_told_the_models(replica: Replica) -> None:
    app = routed(tiny=Handle(replica)).__serve_build_asgi_app__()
    status, body = await ask(app, "/v1/completions", FIELDS | {"model": "gpt"})
    assert (status, b"tiny" in body) == (401, False)


async def test_an_answer_that_had_not_begun_comes_from_another_replica(replica: Replica) -> None:
    handle = Handle(replica, 0, 0)
    router = routed(tiny=handle)
    status, body = await ask(router.__serve_build_asgi_app__(), "/v1/completions", FIELDS, key="sk-test")
    alone, known = await ask(replica.__serve_build_asgi_app__(), "/v1/completions", FIELDS, key="sk-test")
    assert (status, alone, len(handle.asked)) == (200, 200, 3)
    assert json.loads(body)["choices"] == json.loads(known)["choices"]


async def test_where_all_die_it_says_so_at_both_doors(replica: Replica) -> None:
    router, context = routed(tiny=Handle(replica, *[0] * 10)), Context(KEY)
    status, body = await ask(router.__serve_build_asgi_app__(), "/v1/completions", FIELDS, key="sk-test")
    await router.CreateCompletion(pb.CreateCompletionRequest(request=request()), context)
    assert (status, json.loads(body)["error"]["code"]) == (503, "unavailable")
    assert context.code == grpc.StatusCode.UNAVAILABLE


async def test_a_stream_that_breaks_ends_with_an_error(replica: Replica) -> None:
    handle = Handle(replica, 2)
    app = routed(tiny=handle).__serve_build_asgi_app__()
    asked = messages(app, "/v1/completions", FIELDS | {"stream": True, "max_tokens": 5000}, key="sk-test")
    head, first, *_, last = [message async for message in asked]
    assert (head["status"], last["more_body"], len(handle.asked)) == (200, False, 1)
    assert json.loads(first["body"].removeprefix(b"data: "))["choices"]
    assert json.loads(last["body"].removeprefix(b"data: "))["error"]["code"] == "unavailable"
    assert handle.said[0].is_cancelled


async def test_a_stream_over_grpc_that_breaks_ends_with_a_status(replica: Replica) -> None:
    router, context = routed(tiny=Handle(replica, 2)), Context(KEY)
    stream = router.StreamCompletion(pb.StreamCompletionRequest(request=request(max_tokens=5000)), context)
    with pytest.raises(RuntimeError, match="is gone"):
        [chunk async for chunk in stream]
    assert context.code == grpc.StatusCode.UNAVAILABLE


async def test_a_body_that_is_too_large_is_not_handed_on(replica: Replica) -> None:
    handle = Handle(replica)
    app = routed(tiny=handle).__serve_build_asgi_app__()
    status, _ = await ask(app, "/v1/completions", FIELDS | {"prompt": "a" * (4 << 20)}, key="sk-test")
    assert (status, handle.asked) == (413, [])
