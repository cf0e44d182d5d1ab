"""The chat shape says of a request what the completions shape says, at every door, whole and streamed."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, assume, given, settings

from benchmarks.client import CallError
from tests.answers import counted, joined_chat
from tests.core.fake_backend import N_VOCAB
from tests.doors import DOORS
from tests.quick import AnyText, engine_of, service_of
from tests.requests_strategy import Vocabulary, requests
from tests.test_requests import carries

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from engine.service.service import CompletionService
    from tests.doors import Answer, Door
    from tests.requests_strategy import Generated

MESSAGES = [{"role": "system", "content": "You are brief."}, {"role": "user", "content": "天😀 Say hi."}]
BEGUN = [*MESSAGES, {"role": "assistant", "content": "The capital of France is "}]
CASES: dict[str, Answer] = {
    "greedy": {"temperature": 0, "max_tokens": 8},
    "several choices": {"n": 3, "max_tokens": 6, "logprobs": 2, "temperature": 0.8},
    "half characters": {"max_tokens": 8, "logprobs": 1, "logit_bias": {"180": 20, "183": 20, "233": 20}},
    "a stop string": {"max_tokens": 12, "temperature": 0, "stop": ["a"], "logprobs": 1},
    "to its own end": {"min_tokens": 2, "logit_bias": {"2": 100}, "logprobs": 0},
    "what is drawn at random": {
        "max_tokens": 8,
        "top_p": 0.9,
        "top_k": 40,
        "min_p": 0.01,
        "presence_penalty": 1,
        "frequency_penalty": 0.5,
        "repetition_penalty": 1.1,
        "logprobs": 5,
    },
    "token ids": {"n": 2, "max_tokens": 6, "stop": ["a"], "return_token_ids": True},
    "a banned token": {"max_tokens": 4, "logit_bias": {"57": -100}, "logprobs": 5},
}


def as_chat(fields: Answer) -> Answer:
    """Return the same request in the chat shape."""
    count = fields.get("logprobs")
    asked = {} if count is None else {"logprobs": True, "top_logprobs": count}
    return {name: value for name, value in fields.items() if name != "logprobs"} | asked


def check_equal(choice: Answer, completion: Answer, *, alternatives: int | None) -> None:
    """Compare a choice of a chat with that of the completions shape."""
    assert choice["message"] == {"role": "assistant", "content": completion["text"], "refusal": None}
    assert (choice["index"], choice["finish_reason"]) == (completion["index"], completion["finish_reason"])
    assert choice.get("token_ids") == completion.get("token_ids")
    if alternatives is None:
        assert choice["logprobs"] is completion["logprobs"] is None
        return
    tokens = choice["logprobs"]["content"]
    arrays = completion["logprobs"]
    assert [token["token"] for token in tokens] == arrays["tokens"]
    assert [token["logprob"] for token in tokens] == arrays["token_logprobs"]
    for place, token in enumerate(tokens):
        assert len(token["top_logprobs"]) == alternatives
        told = {top["token"]: top["logprob"] for top in reversed(token["top_logprobs"])}
        assert told.items() <= (arrays["top_logprobs"] or {place: {}})[place].items()
        for each in (token, *token["top_logprobs"]):
            is_whole = not each["token"].startswith("bytes:")
            assert not is_whole or bytes(each["bytes"]).decode() == each["token"]


@pytest.mark.parametrize("case", CASES)
async def test_a_chat_is_answered_as_the_completions_shape_answers_it(door: Door, case: str) -> None:
    fields = {"messages": MESSAGES, "seed": 5, **CASES[case]}
    completion = await door.complete(**fields)
    answer = await door.chat(**as_chat(fields))
    assert answer["object"] == "chat.completion"
    assert answer["id"].startswith("chatcmpl-")
    assert counted(answer["usage"]) == counted(completion["usage"])
    for choice, same in zip(answer["choices"], completion["choices"], strict=True):
        check_equal(choice, same, alternatives=fields.get("logprobs"))
    usage = {"include_usage": True}
    *chunks, last = await door.stream_chat(**as_chat(fields), stream_options=usage)
    assert joined_chat(chunks) == answer["choices"]
    prompts = [answer.get("prompt_token_ids"), chunks[0].get("prompt_token_ids")]
    assert prompts == [completion["choices"][0].get("prompt_token_ids")] * 2
    assert not any("prompt_token_ids" in chunk for chunk in chunks[1:])
    assert (last["choices"], counted(last["usage"])) == ([], counted(answer["usage"]))
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert {chunk["usage"] for chunk in chunks} == {None}


async def test_a_message_that_has_begun_is_continued(door: Door, service: CompletionService) -> None:
    backend = service.engine.backend
    pairs = [(message["role"], message["content"]) for message in BEGUN]
    whole = backend.apply_chat_template(pairs, add_generation_prompt=False)
    assert whole is not None
    prompt = whole[: whole.rindex(BEGUN[-1]["content"])] + BEGUN[-1]["content"]
    fields: Answer = {"seed": 3, "max_tokens": 6, "logprobs": 1}
    completion = await door.complete(prompt=prompt, **fields)
    answer = await door.chat(messages=BEGUN, continue_final_message=True, **as_chat(fields))
    check_equal(answer["choices"][0], completion["choices"][0], alternatives=1)
    assert counted(answer["usage"]) == counted(completion["usage"])


async def test_a_prompt_can_end_without_what_begins_an_answer(door: Door, service: CompletionService) -> None:
    pairs = [(message["role"], message["content"]) for message in MESSAGES]
    prompt = service.engine.backend.apply_chat_template(pairs, add_generation_prompt=False)
    completion = await door.complete(prompt=prompt, seed=3, max_tokens=6)
    answer = await door.chat(messages=MESSAGES, add_generation_prompt=False, seed=3, max_tokens=6)
    check_equal(answer["choices"][0], completion["choices"][0], alternatives=None)


async def test_usage_so_far_is_on_every_chunk(door: Door) -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    chunks = await door.stream_chat(messages=MESSAGES, max_tokens=4, seed=1, stream_options=options)
    counts = [chunk["usage"]["completion_tokens"] for chunk in chunks]
    assert counts == sorted(counts)
    assert counts[-1] == chunks[-1]["usage"]["completion_tokens"]


REFUSED: dict[str, tuple[Answer, str]] = {
    "no messages": ({"messages": []}, "messages"),
    "two limits that differ": ({"max_tokens": 3, "max_completion_tokens": 4}, "max_tokens"),
    "alternatives without logprobs": ({"top_logprobs": 2}, "top_logprobs"),
    "more alternatives than the server's limit": ({"logprobs": True, "top_logprobs": 6}, "top_logprobs"),
    "nothing to continue": ({"continue_final_message": True}, "continue_final_message"),
    "both ends of a prompt": (
        {"messages": BEGUN, "continue_final_message": True, "add_generation_prompt": True},
        "add_generation_prompt",
    ),
    "too many at least": ({"min_tokens": 5, "max_tokens": 4}, "min_tokens"),
    "more at least than there is room for": ({"min_tokens": 1 << 20}, "min_tokens"),
    "more than there is room for": ({"max_completion_tokens": 1 << 20}, "max_completion_tokens"),
    "out of range": ({"temperature": 3}, "temperature"),
    "another model": ({"model": "gpt-4"}, "model"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_a_refusal_names_its_field(door: Door, case: str) -> None:
    fields, param = REFUSED[case]
    with pytest.raises(CallError) as whole:
        await door.chat(**{"messages": MESSAGES, **fields})
    with pytest.raises(CallError) as streamed:
        await door.stream_chat(**{"messages": MESSAGES, **fields})
    assert whole.value.param == streamed.value.param == param
    assert whole.value.code == streamed.value.code
    assert whole.value.code in ("invalid_request_error", "context_length_exceeded", "model_not_found")


async def test_both_names_of_the_limit_mean_the_same(door: Door) -> None:
    for names in (["max_tokens"], ["max_completion_tokens"], ["max_tokens", "max_completion_tokens"]):
        answer = await door.chat(messages=MESSAGES, ignore_eos=True, **dict.fromkeys(names, 3))
        assert answer["usage"]["completion_tokens"] == 3


@pytest.fixture(scope="module", params=DOORS, ids=lambda door: door.name)
async def quick(request: pytest.FixtureRequest) -> AsyncIterator[Door]:
    """Each door to a model that costs no time and never ends a choice."""
    with closing(engine_of(AnyText())) as engine:
        async with request.param(service_of(engine)) as opened:
            yield opened


async def test_without_a_limit_an_answer_has_the_room_that_the_context_leaves(quick: Door) -> None:
    answer = await quick.chat(messages=[{"role": "user", "content": "A" * 100}], n=2)
    used = answer["usage"]
    assert {choice["finish_reason"] for choice in answer["choices"]} == {"length"}
    assert used["completion_tokens"] == 2 * (quick.service.max_model_len - used["prompt_tokens"])


async def test_there_must_be_room_for_one_token(quick: Door) -> None:
    longest = quick.service.max_model_len - 3  # before it a token, behind it the beginning of an answer
    for length, fits in ((longest, True), (longest + 1, False)):
        asked = quick.chat(messages=[{"role": "user", "content": "A" * length}])
        if fits:
            assert (await asked)["usage"]["completion_tokens"] == 1
            continue
        with pytest.raises(CallError) as refused:
            await asked
        assert (refused.value.code, refused.value.param) == ("context_length_exceeded", "messages")


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(made=requests(Vocabulary(n_vocab=N_VOCAB, max_model_len=256, most_tokens=400)))
async def test_any_request_has_the_same_outcome_in_both_shapes(quick: Door, made: Generated) -> None:
    given = {name: value for name, value in made.fields.items() if value is not None}
    fields = {"messages": MESSAGES, "max_tokens": 4, **given}
    for name in ("prompt", "best_of", "echo", "suffix", "nonsense"):  # of the other shape alone, or of none
        fields.pop(name, None)
    if quick.name == "grpc":  # names that its messages do not have
        fields = {name: value for name, value in fields.items() if not name.startswith("guided_")}
    assume(quick.name == "python" or carries(quick, fields))
    assume(fields.get("logprobs") is None or type(fields["logprobs"]) is int)
    assert await outcome(quick, fields, is_chat=True) == await outcome(quick, fields, is_chat=False)


async def outcome(door: Door, fields: Answer, *, is_chat: bool) -> object:
    """Return the texts of a repeatable answer, their number otherwise, or the error's code and field."""
    ask, asked = (door.chat, as_chat(fields)) if is_chat else (door.complete, fields)
    try:
        choices = (await ask(**asked))["choices"]
    except CallError as error:
        return error.code, "logprobs" if error.param == "top_logprobs" else error.param
    texts = [choice["message"]["content"] if is_chat else choice["text"] for choice in choices]
    return texts if fields.get("seed") is not None else len(texts)
