"""What ends a choice besides its length: end tokens, other tokens, strings, and none of them too early."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from engine.async_llm import AsyncLLM

if TYPE_CHECKING:
    from engine.service.service import CompletionService
    from tests.doors import Door

FIELDS: dict[str, Any] = {"prompt": "The capital of France is", "temperature": 0, "seed": 1, "max_tokens": 16}


@pytest.fixture(scope="module")
async def tokens(service: CompletionService) -> list[tuple[int, str]]:
    """The ids and texts of what comes if nothing ends it."""
    answer = await AsyncLLM.of(service).complete(**FIELDS, logprobs=0)
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert len(logprobs.tokens) == 16
    return list(zip(logprobs.token_ids, logprobs.tokens, strict=True))


def first_new(tokens: list[tuple[int, str]], start: int) -> int:
    """Return a position from ``start`` on whose token does not come before."""
    ids = [token for token, _ in tokens]
    return next(at for at in range(start, len(ids)) if ids[at] not in ids[:at])


def text_of(tokens: list[tuple[int, str]]) -> str:
    return "".join(text for _, text in tokens)


@pytest.mark.parametrize("keep", [False, True])
async def test_a_stop_token_ends_the_choice(door: Door, tokens: list[tuple[int, str]], keep: bool) -> None:
    at = first_new(tokens, 4)
    answer = await door.complete(
        **FIELDS, stop_token_ids=[tokens[at][0]], include_stop_str_in_output=keep, logprobs=0
    )
    (choice,) = answer["choices"]
    assert choice["text"] == text_of(tokens[: at + keep])
    assert choice["logprobs"]["tokens"] == [text for _, text in tokens[: at + 1]]
    assert (choice["finish_reason"], answer["usage"]["completion_tokens"]) == ("stop", at + 1)


async def test_a_stop_token_cannot_be_drawn_before_its_time(
    door: Door, tokens: list[tuple[int, str]]
) -> None:
    """The token that would come is left out for as long; what comes instead is the second best."""
    at = first_new(tokens, 4)
    banned, name = tokens[at]
    answer = await door.complete(**FIELDS, stop_token_ids=[banned], min_tokens=at + 1, logprobs=1)
    logprobs = answer["choices"][0]["logprobs"]
    assert logprobs["tokens"][:at] == [text for _, text in tokens[:at]]
    assert name not in logprobs["tokens"][: at + 1]
    assert next(iter(logprobs["top_logprobs"][at])) == name, "log-probabilities are those of the model"


async def test_a_token_that_is_forced_comes_as_soon_as_it_may(door: Door, service: CompletionService) -> None:
    end = service.engine.backend.info.eos_token
    answer = await door.complete(**FIELDS, logit_bias={str(end): 100}, min_tokens=5)
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"]["completion_tokens"] == 6


async def test_the_end_token_can_be_ignored(door: Door, service: CompletionService) -> None:
    end = service.engine.backend.info.eos_token
    answer = await door.complete(**FIELDS, logit_bias={str(end): 100}, ignore_eos=True, logprobs=0)
    (choice,) = answer["choices"]
    assert (choice["text"], choice["finish_reason"]) == ("", "length")
    assert len(set(choice["logprobs"]["tokens"])) == 1
    assert answer["usage"]["completion_tokens"] == 16


async def test_a_stop_string_counts_once_there_are_tokens_enough(
    door: Door, tokens: list[tuple[int, str]]
) -> None:
    stop = tokens[2][1]
    at_once = await door.complete(**FIELDS, stop=stop)
    assert at_once["choices"][0]["text"] == text_of(tokens[:2])
    later = await door.complete(**FIELDS, stop=stop, min_tokens=8)
    assert later["choices"][0]["text"].startswith(text_of(tokens[:8]))
