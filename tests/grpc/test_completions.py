"""What the gRPC door answers is what Python gets."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

import pytest

from engine.pb.nucleus.v1 import completions_pb2 as pb
from engine.pb.nucleus.v1 import completions_pb2_grpc as pb_grpc
from engine.serving.wire import fields_of
from tests.answers import raw
from tests.grpc.calls import FRANCE, create, expected, joined, plain, stream, text, tokens

if TYPE_CHECKING:
    from engine.service.service import CompletionService

    Stub = pb_grpc.CompletionServiceAsyncStub


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
    assert usage.HasField("completion_tokens_details")


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
    from engine.contract.chat import ChatRequest
    from engine.contract.conversation import Message
    from engine.contract.fields import StreamOptions
    from engine.contract.forms import NamedSchema, ResponseFormat, StructuredOutputs
    from engine.contract.requests import CompletionRequest

    for request, kind in ((pb.CompletionRequest, CompletionRequest), (pb.ChatRequest, ChatRequest)):
        wire = set(request.DESCRIPTOR.fields_by_name)
        older = {name for name in kind.model_fields if name.startswith("guided_")}
        assert wire == set(kind.model_fields) - {"stream"} - older
    for message, model in (
        (pb.ResponseFormat, ResponseFormat),
        (pb.NamedSchema, NamedSchema),
        (pb.StructuredOutputs, StructuredOutputs),
    ):
        names = {field.alias or name for name, field in model.model_fields.items()}
        assert set(message.DESCRIPTOR.fields_by_name) == names
    assert set(pb.Message.DESCRIPTOR.fields_by_name) == set(Message.model_fields)
    assert set(pb.StreamOptions.DESCRIPTOR.fields_by_name) >= set(StreamOptions.model_fields)


def test_every_scalar_of_a_request_knows_whether_it_is_set() -> None:
    forms = (pb.ResponseFormat, pb.NamedSchema, pb.StructuredOutputs)
    for message in (pb.CompletionRequest, pb.ChatRequest, pb.Message, pb.StreamOptions, pb.Prompt, *forms):
        for field in message.DESCRIPTOR.fields:
            assert field.is_repeated or field.has_presence, field.full_name


async def test_the_defaults_are_the_contracts(stub: Stub, service: CompletionService, model: str) -> None:
    banned = dict.fromkeys(service.engine.backend.info.eog_tokens, -100.0)
    whole = await create(stub, pb.CompletionRequest(model=model, prompt=FRANCE, logit_bias=banned))
    assert whole.usage.completion_tokens == 16
    assert len(whole.choices) == 1


# --- errors ------------------------------------------------------------------------------------------------
