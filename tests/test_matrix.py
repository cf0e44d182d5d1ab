"""Everything that shapes an answer, in every combination, whole and streamed, at every door."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.answers import check_logprobs, comparable, counted, joined

if TYPE_CHECKING:
    from engine.service import CompletionService
    from tests.doors import Answer, Door

TEXTS = ["The sky", "天😀"]
"""The second one has characters that several tokens share."""
FORMS = ["text", "texts", "ids", "lists of ids"]
GENERATED = 4


class Cell(NamedTuple):
    """One combination."""

    form: str
    n: int
    logprobs: int | None
    echo: bool
    max_tokens: int

    def __str__(self) -> str:
        echo = "echo" if self.echo else "no echo"
        return f"{self.form}-n {self.n}-logprobs {self.logprobs}-{echo}-{self.max_tokens} tokens"

    @property
    def texts(self) -> list[str]:
        return TEXTS if self.form in ("texts", "lists of ids") else TEXTS[1:]

    def fields(self, service: CompletionService) -> Answer:
        """Return the request; the tokens that end a choice are banned, so that it has its full length."""
        ids = [service.engine.backend.tokenize(text) for text in self.texts]
        prompts: dict[str, Any] = {
            "text": self.texts[0],
            "texts": self.texts,
            "ids": ids[0],
            "lists of ids": ids,
        }
        return {
            "prompt": prompts[self.form],
            "n": self.n,
            "logprobs": self.logprobs,
            "echo": self.echo,
            "max_tokens": self.max_tokens,
            "seed": 9,
            "logit_bias": dict.fromkeys(map(str, service.engine.backend.info.eog_tokens), -100),
        }


CELLS = [
    Cell(form, n, logprobs, echo, max_tokens)
    for form, n, logprobs in itertools.product(FORMS, [1, 2], [None, 0, 1, 5])
    for echo, max_tokens in ((False, GENERATED), (True, GENERATED), (True, 0))
]


@pytest.fixture(scope="module")
def answers() -> dict[Cell, Answer]:
    """What the doors before this one have answered."""
    return {}


@pytest.mark.parametrize("cell", CELLS, ids=str)
async def test_an_answer_has_its_shape_its_stream_and_its_equal_at_every_door(
    door: Door, service: CompletionService, answers: dict[Cell, Answer], cell: Cell
) -> None:
    fields = cell.fields(service)
    streaming = door.stream(**fields, stream_options={"include_usage": True})
    answered, chunks = await asyncio.gather(door.complete(**fields), streaming)
    whole = comparable(answered)
    lengths = [len(service.engine.backend.tokenize(text)) for text in cell.texts]
    check_whole(whole, cell, lengths)
    check_chunks(chunks)
    assert joined(chunks) == whole["choices"]
    assert counted(chunks[-1]["usage"]) == whole["usage"]
    assert answers.setdefault(cell, whole) == whole


def check_whole(whole: Answer, cell: Cell, lengths: list[int]) -> None:
    choices, usage = whole["choices"], whole["usage"]
    assert [choice["index"] for choice in choices] == list(range(cell.n * len(cell.texts)))
    assert usage["prompt_tokens"] == sum(lengths)
    assert usage["completion_tokens"] == len(choices) * cell.max_tokens
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    for choice in choices:
        number = choice["index"] // cell.n
        prompt = cell.texts[number]
        assert choice["text"].startswith(prompt) == cell.echo
        assert (choice["text"] == prompt) == (cell.echo and not cell.max_tokens)
        assert choice["finish_reason"] == "length"
        check_logprobs(choice, cell.logprobs, prompt=prompt, echo=cell.echo)
        if cell.logprobs is not None:
            n_tokens = cell.echo * lengths[number] + cell.max_tokens
            assert len(choice["logprobs"]["tokens"]) == n_tokens


def check_chunks(chunks: list[Answer]) -> None:
    """Hold the chunks to what they have beside what is joined of them."""
    *parts, last = chunks
    assert (last["choices"], {chunk["usage"] is None for chunk in parts}) == ([], {True})
    assert {len(chunk["choices"]) for chunk in parts} == {1}
    assert len({chunk["id"] for chunk in chunks}) == 1
