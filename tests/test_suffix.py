"""``suffix``: what a model is asked that can fill a gap, through every door."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from benchmarks.client import CallError
from engine.backend.base import GapTokens

if TYPE_CHECKING:
    from engine.service.service import CompletionService
    from tests.doors import Door

GAP = GapTokens(prefix=5, suffix=6, middle=7)


@pytest.fixture
def filling(service: CompletionService, monkeypatch: pytest.MonkeyPatch) -> CompletionService:
    """The default model, made to believe that three of its tokens are for that."""
    backend = service.engine.backend
    monkeypatch.setattr(backend, "info", replace(backend.info, gap_tokens=GAP))
    return service


@pytest.mark.parametrize("as_ids", [False, True])
async def test_the_model_sees_both_texts_and_fills_what_is_between(
    door: Door, filling: CompletionService, *, as_ids: bool
) -> None:
    tokenize = filling.engine.backend.tokenize
    before, after = "def add(a, b):\n", "    return total\n"
    ids = tokenize(before)
    fields = {"max_tokens": 6, "seed": 3, "logprobs": 1}
    filled = await door.complete(prompt=ids if as_ids else before, suffix=after, **fields)
    whole = [GAP.prefix, *ids, GAP.suffix, *tokenize(after), GAP.middle]
    spelt_out = await door.complete(prompt=whole, **fields)
    (got,), (wanted,) = filled["choices"], spelt_out["choices"]
    assert (got["text"], got["logprobs"]["tokens"]) == (wanted["text"], wanted["logprobs"]["tokens"])
    assert got["logprobs"]["token_logprobs"] == wanted["logprobs"]["token_logprobs"]
    assert got["logprobs"]["text_offset"][0] == len(before)
    assert filled["usage"]["prompt_tokens"] == len(whole)


async def test_its_tokens_count_for_the_context(door: Door, filling: CompletionService) -> None:
    with pytest.raises(CallError, match="at most 8192 tokens together") as caught:
        await door.complete(prompt="a", suffix="b " * 9000)
    assert caught.value.code == "context_length_exceeded"


async def test_a_model_without_such_tokens_is_named_as_the_reason(door: Door) -> None:
    with pytest.raises(CallError, match="'suffix' needs a model with fill-in-the-middle tokens") as caught:
        await door.complete(prompt="a", suffix="b")
    assert caught.value.code == "invalid_request_error"
