"""Everything that shapes an answer, in every combination, whole and streamed, at every door."""

from __future__ import annotations

import itertools
from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from engine.loading.launch import launch
from engine.loading.options import EngineOptions
from engine.models.names import locate
from tests.answers import check_logprobs, comparable, counted, joined
from tests.conftest import MODEL
from tests.doors import DOORS
from tests.standins.shallow import cut
from tests.together import asked_together

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Iterator

    from engine.service.service import CompletionService
    from tests.doors import Answer, Door
    from tests.together import Told

TEXTS = ["The sky", "天😀"]
"""The second one has characters that several tokens share."""
FORMS = ["text", "texts", "ids", "lists of ids"]
GENERATED = 8


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
        """Return the request; the tokens that end a choice are banned, so that it has its full length.

        Those of the second text are likely, so that choices have parts of characters too.
        """
        backend = service.engine.backend
        ids = [backend.tokenize(text) for text in self.texts]
        bias = dict.fromkeys(backend.tokenize(TEXTS[1]), 25) | dict.fromkeys(backend.info.eog_tokens, -100)
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
            "logit_bias": {str(token): value for token, value in bias.items()},
        }


CELLS = [
    Cell(form, n, logprobs, echo, max_tokens)
    for form, n, logprobs in itertools.product(FORMS, [1, 2], [None, 0, 1, 5])
    for echo, max_tokens in ((False, GENERATED), (True, GENERATED), (True, 0))
]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CompletionService]:
    """The default model's first layers, as nothing here depends on what a model says."""
    path = tmp_path_factory.mktemp("matrix") / "shallow.gguf"
    cut(locate(MODEL).path, path, n_layers=2)
    with closing(launch(EngineOptions(model=str(path), ctx_size=2048)).service) as service:
        yield service
    path.unlink()  # pytest keeps the folders of three runs


@pytest.fixture(scope="module", params=DOORS, ids=lambda door: door.name)
async def door(request: pytest.FixtureRequest, service: CompletionService) -> AsyncIterator[Door]:
    async with request.param(service) as opened:
        yield opened


@pytest.fixture(scope="module")
async def asked(door: Door, service: CompletionService) -> AsyncIterator[dict[Cell, asyncio.Task[Told]]]:
    """What a door tells of each combination."""
    async with asked_together(door, {cell: cell.fields(service) for cell in CELLS}) as asked:
        yield asked


@pytest.fixture(scope="module")
def answers() -> dict[Cell, Answer]:
    """What the doors before this one have answered."""
    return {}


@pytest.mark.parametrize("cell", CELLS, ids=str)
async def test_an_answer_has_its_shape_its_stream_and_its_equal_at_every_door(
    service: CompletionService, asked: dict[Cell, asyncio.Task[Told]], answers: dict[Cell, Answer], cell: Cell
) -> None:
    answered, chunks = await asked[cell]
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
