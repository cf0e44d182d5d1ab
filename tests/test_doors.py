"""The same behaviour through Python, gRPC and HTTP, on the real default model."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from benchmarks.client import CallError
from tests.answers import check_logprobs, comparable, counted, joined, make_prompts
from tests.doors import DOORS, Answer
from tests.together import asked_together

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator

    from engine.service.service import CompletionService
    from tests.doors import Door
    from tests.together import Told

WEATHER = "天气非常好"
FRANCE = "The capital of France is"
CASES: dict[str, Answer] = {
    "greedy": {"prompt": FRANCE, "temperature": 0, "seed": 1, "max_tokens": 12},
    "greedy with logprobs": {"prompt": FRANCE, "temperature": 0, "seed": 1, "max_tokens": 12, "logprobs": 5},
    "drawn token's logprob only": {"prompt": FRANCE, "seed": 7, "max_tokens": 8, "logprobs": 0},
    "Chinese": {"prompt": WEATHER, "temperature": 0.7, "max_tokens": 40, "seed": 11, "logprobs": 1},
    "penalties": {
        "prompt": "la la la la",
        "seed": 3,
        "max_tokens": 24,
        "presence_penalty": 1.5,
        "frequency_penalty": -0.5,
        "top_p": 0.9,
        "logprobs": 2,
    },
    "several choices": {"prompt": FRANCE, "seed": -5, "n": 3, "max_tokens": 10, "logprobs": 2},
    "more choices than slots": {"prompt": FRANCE, "seed": 5, "n": 7, "max_tokens": 6},
    "several prompts": {"prompt": [FRANCE, WEATHER], "n": 2, "seed": 1, "max_tokens": 8},
    "token ids": {"prompt": [504, 3575, 282, 4649, 314], "temperature": 0, "seed": 1, "max_tokens": 5},
    "lists of token ids": {"prompt": [[504, 3575], [282]], "temperature": 0, "seed": 1, "max_tokens": 5},
    "chat": {
        "messages": [{"role": "user", "content": "Say hi."}],
        "temperature": 0,
        "seed": 1,
        "max_tokens": 24,
    },
    "stop strings": {
        "prompt": FRANCE,
        "temperature": 0,
        "seed": 1,
        "max_tokens": 30,
        "stop": ["nited", "\n\n\n"],
        "logprobs": 1,
    },
    "bias and filters": {
        "prompt": FRANCE,
        "seed": 2,
        "max_tokens": 8,
        "logit_bias": {"7042": -100, "260": 5.5},
        "top_k": 40,
        "min_p": 0.01,
        "repetition_penalty": 1.1,
    },
    "a stop that stays": {
        "prompt": FRANCE,
        "temperature": 0,
        "seed": 1,
        "max_tokens": 30,
        "stop": "nited",
        "include_stop_str_in_output": True,
        "logprobs": 1,
    },
    "a stop that comes too early": {
        "prompt": FRANCE,
        "temperature": 0,
        "seed": 1,
        "max_tokens": 30,
        "min_tokens": 20,
        "stop": ["a", "e"],
        "logprobs": 1,
    },
    "on after the end": {
        "prompt": FRANCE,
        "seed": 3,
        "max_tokens": 6,
        "logit_bias": {"2": 100},
        "ignore_eos": True,
        "logprobs": 1,
    },
    "no end before its time": {
        "prompt": FRANCE,
        "seed": 3,
        "max_tokens": 12,
        "min_tokens": 5,
        "logit_bias": {"2": 100},
        "stop_token_ids": [260],
        "logprobs": 1,
    },
    "echo": {"prompt": FRANCE, "seed": 5, "n": 2, "max_tokens": 4, "echo": True, "logprobs": 2},
    "nothing but echo": {"prompt": WEATHER, "seed": 5, "max_tokens": 0, "echo": True, "logprobs": 5},
    "token ids of the answer": {
        "prompt": FRANCE,
        "seed": 6,
        "n": 2,
        "max_tokens": 12,
        "return_token_ids": True,
    },
    "token ids of a stop string": {
        "prompt": FRANCE,
        "temperature": 0,
        "seed": 1,
        "max_tokens": 30,
        "stop": ["nited"],
        "logprobs": 1,
        "return_token_ids": True,
    },
    "token ids of half characters": {
        "prompt": [WEATHER, FRANCE],
        "seed": 3,
        "max_tokens": 12,
        "logit_bias": {"180": 20, "183": 20, "233": 20},
        "echo": True,
        "logprobs": 1,
        "return_token_ids": True,
    },
    "one token": {"prompt": FRANCE, "temperature": 0, "seed": 1, "max_tokens": 1},
    "empty prompt": {"prompt": "", "temperature": 0, "seed": 1, "max_tokens": 4},
    "nulls mean defaults": {"prompt": FRANCE, "seed": 4, "temperature": None, "n": None, "stop": None},
}
BAD: dict[str, Answer] = {
    "no prompt": {},
    "empty list": {"prompt": []},
    "empty list of ids": {"prompt": [[]]},
    "prompt and messages": {"prompt": "a", "messages": [{"role": "user", "content": "b"}]},
    "negative token id": {"prompt": [-1]},
    "token id of n_vocab": {"prompt": [49152]},
    "token id of 2**31": {"prompt": [1 << 31]},
    "temperature": {"prompt": "a", "temperature": 2.1},
    "temperature not a number": {"prompt": "a", "temperature": math.nan},
    "infinite penalty": {"prompt": "a", "presence_penalty": math.inf},
    "top_p": {"prompt": "a", "top_p": 1.5},
    "no choices": {"prompt": "a", "n": 0},
    "too many choices": {"prompt": "a", "n": 129},
    "choices times prompts": {"prompt": ["a"] * 9, "n": 128},
    "too many prompts": {"prompt": ["a"] * 257},
    "logprobs": {"prompt": "a", "logprobs": 6},
    "bias of n_vocab": {"prompt": "a", "logit_bias": {"49152": 1}},
    "bias too large": {"prompt": "a", "logit_bias": {"1": 101}},
    "empty stop": {"prompt": "a", "stop": [""]},
    "five stops": {"prompt": "a", "stop": list("abcde")},
    "stop token of n_vocab": {"prompt": "a", "stop_token_ids": [49152]},
    "too many stop tokens": {"prompt": "a", "stop_token_ids": [1] * 129},
    "more tokens at least than at most": {"prompt": "a", "min_tokens": 17},
    "fewer candidates than choices": {"prompt": "a", "n": 3, "best_of": 2},
    "too many candidates": {"prompt": "a", "best_of": 21},
    "too long for the context": {"prompt": "a", "max_tokens": 8192},
    "another model": {"prompt": "a", "model": "gpt-4"},
    "NUL in a message": {"messages": [{"role": "user", "content": "a\0b"}]},
    "more ids than the context": {"prompt": [1] * 9000},
    "a gap that the model cannot fill": {"prompt": "a", "suffix": "b"},
    "several choices of one beginning": {"prompt": "a", "n": 2, "resume_token_ids": [5]},
    "several candidates of one beginning": {"prompt": "a", "best_of": 2, "resume_token_ids": [5]},
    "several prompts of one beginning": {"prompt": ["a", "b"], "resume_token_ids": [5]},
    "the prompt before what is resumed": {"prompt": "a", "echo": True, "resume_token_ids": [5]},
    "resumed behind a token of n_vocab": {"prompt": "a", "resume_token_ids": [49152]},
    "resumed behind more tokens than there may be": {
        "prompt": "a",
        "max_tokens": 2,
        "resume_token_ids": [5, 5, 5],
    },
    "no tokens without echo": {"prompt": "a", "max_tokens": 0},
}
CODES = {
    "another model": "model_not_found",
    "too long for the context": "context_length_exceeded",
    "more ids than the context": "context_length_exceeded",
}
"""The cases that clients tell from the others, to shorten a prompt or to ask another server."""


@pytest.fixture(scope="session")
async def expected(service: CompletionService) -> dict[str, Answer]:
    """Every case as the Python door answers it, one at a time."""
    async with DOORS[0](service) as python:
        return {name: comparable(await python.complete(**fields)) for name, fields in CASES.items()}


@pytest.fixture(scope="module")
async def asked(door: Door) -> AsyncIterator[dict[str, asyncio.Task[Told]]]:
    """What each door tells of all cases, of which more are there at once than it has slots."""
    async with asked_together(door, CASES) as asked:
        yield asked


@pytest.mark.parametrize("case", CASES)
async def test_everybody_at_once_gets_what_each_gets_alone(
    asked: dict[str, asyncio.Task[Told]], case: str, expected: dict[str, Answer]
) -> None:
    assert comparable((await asked[case]).whole) == expected[case]


@pytest.mark.parametrize("case", CASES)
async def test_a_stream_joined_is_the_answer(
    asked: dict[str, asyncio.Task[Told]], case: str, expected: dict[str, Answer]
) -> None:
    chunks = (await asked[case]).chunks
    assert joined(chunks) == expected[case]["choices"]
    assert chunks[-1]["choices"] == []
    assert counted(chunks[-1]["usage"]) == expected[case]["usage"]
    assert all(chunk["usage"] is None and len(chunk["choices"]) == 1 for chunk in chunks[:-1])
    assert len({chunk["id"] for chunk in chunks}) == 1


@pytest.mark.parametrize("case", [case for case, fields in CASES.items() if "return_token_ids" in fields])
async def test_token_ids_are_those_of_the_texts(
    case: str, expected: dict[str, Answer], service: CompletionService
) -> None:
    fields, answer = CASES[case], expected[case]
    backend, echo = service.engine.backend, fields.get("echo", False)
    prompts = [backend.tokenize(prompt) for prompt in make_prompts(fields)]
    for choice in answer["choices"]:
        tokens, prompt = choice["token_ids"], prompts[choice["index"] // fields.get("n", 1)]
        assert choice["prompt_token_ids"] == prompt
        text = b"".join(
            map(service.engine.backend.piece, [*prompt, *tokens] if fields.get("echo") else tokens)
        )
        assert text.decode("utf-8", "ignore").startswith(choice["text"])
        if choice["logprobs"] is not None:
            told = choice["logprobs"]["tokens"][len(prompt) * echo :]
            assert told == [service.token_texts[token] for token in tokens][: len(told)]
            named = [
                None if ids is None else {name: service.token_texts[token] for name, token in ids.items()}
                for ids in choice["logprobs"]["top_token_ids"]
            ]
            tops = choice["logprobs"]["top_logprobs"]
            assert named == [top and {name: name for name in top} for top in tops]
    n_tokens = sum(len(choice["token_ids"]) for choice in answer["choices"])
    assert n_tokens == answer["usage"]["completion_tokens"]


@pytest.mark.parametrize("case", CASES)
def test_answers_hold_the_contract(case: str, expected: dict[str, Answer]) -> None:
    fields, answer = CASES[case], expected[case]
    prompts = make_prompts(fields)
    choices = answer["choices"]
    assert [choice["index"] for choice in choices] == list(range(len(prompts) * (fields.get("n") or 1)))
    assert answer["usage"]["total_tokens"] == (
        answer["usage"]["prompt_tokens"] + answer["usage"]["completion_tokens"]
    )
    for choice in choices:
        check_choice(choice, fields)


def check_choice(choice: Answer, fields: Answer) -> None:
    """Hold a choice of one of the cases to the contract; those with logprobs have one prompt, as text."""
    assert choice["finish_reason"] in ("stop", "length")
    prompt = fields.get("prompt", "")
    check_logprobs(choice, fields.get("logprobs"), prompt=prompt, echo=fields.get("echo", False))


@pytest.mark.parametrize("case", BAD)
async def test_a_bad_request_is_refused_alike(door: Door, case: str, service: CompletionService) -> None:
    async with DOORS[0](service) as python:
        with pytest.raises(CallError) as wanted:
            await python.complete(**BAD[case])
    for ask in (door.complete, door.stream):
        with pytest.raises(CallError) as refused:
            await ask(**BAD[case])
        assert refused.value.code == wanted.value.code == CODES.get(case, "invalid_request_error")
        assert refused.value.param == wanted.value.param is not None
        assert refused.value.message
