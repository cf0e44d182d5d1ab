"""``best_of``: the candidates with the highest mean log-probability per token, out of several."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.doors import Answer, Door

FIELDS = {"prompt": "Once upon a time", "max_tokens": 9, "seed": 17, "stop": [" a"], "ignore_eos": True}


def mean(choice: Answer) -> float:
    """Return the mean log-probability of a choice; that of all its tokens only where none is cut off."""
    logprobs = choice["logprobs"]["token_logprobs"]
    return float(sum(logprobs) / len(logprobs))


@pytest.mark.parametrize("n", [1, 2])
async def test_the_best_of_all_candidates_are_returned_best_first(door: Door, n: int) -> None:
    """With a seed, candidate i is choice i of a request for all of them, of whom two wait for a slot."""
    fields = {**FIELDS, "stop": []}
    everybody = (await door.complete(**fields, n=6, logprobs=0))["choices"]
    wanted = sorted(everybody, key=mean, reverse=True)[:n]
    chosen = (await door.complete(**fields, n=n, best_of=6, logprobs=0))["choices"]
    assert [choice["index"] for choice in chosen] == list(range(n))
    assert [choice["text"] for choice in chosen] == [choice["text"] for choice in wanted]
    assert [choice["logprobs"] for choice in chosen] == [choice["logprobs"] for choice in wanted]
    assert mean(chosen[0]) > mean(min(everybody, key=mean))


async def test_the_choice_is_the_same_without_logprobs_and_for_each_prompt(door: Door) -> None:
    prompts = ["Once upon a time", "The capital of France is"]
    fields: dict[str, Any] = {**FIELDS, "prompt": prompts, "best_of": 2}
    told, plain = await door.complete(**fields, logprobs=0), await door.complete(**fields)
    assert [choice["logprobs"] for choice in plain["choices"]] == [None] * 2
    assert [(c["index"], c["text"]) for c in plain["choices"]] == [
        (c["index"], c["text"]) for c in told["choices"]
    ]
    first = await door.complete(**{**fields, "prompt": prompts[:1]})
    assert [c["text"] for c in first["choices"]] == [c["text"] for c in plain["choices"][:1]]


async def test_usage_counts_every_candidate(door: Door) -> None:
    usage = (await door.complete(**{**FIELDS, "stop": []}, n=2, best_of=6))["usage"]
    assert (usage["completion_tokens"], usage["prompt_tokens"]) == (6 * 9, 4)


async def test_as_many_candidates_as_choices_may_be_streamed(door: Door) -> None:
    chunks = await door.stream(**FIELDS, n=2, best_of=2)
    assert {choice["index"] for chunk in chunks for choice in chunk["choices"]} == {0, 1}
