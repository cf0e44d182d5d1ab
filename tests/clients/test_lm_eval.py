"""lm-evaluation-harness as the client: what it makes of an answer is what the model's raw logits say."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest

from engine.backend.base import Batch, decode
from engine.backend.llama import LlamaBackend, LlamaOptions
from engine.backend.llama_model import LlamaModel
from engine.models.names import locate
from tests.clients import KEY
from tests.conftest import MODEL
from tests.doors import PythonDoor
from tests.sampler.oracle import logprobs as log_softmax

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from numpy.typing import NDArray

    from engine.service.service import CompletionService

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("lm_eval") is None,
    reason="lm-evaluation-harness is not installed; the extra [eval] has it",
)

FOLDER = Path(__file__).parent / "lm_eval"
# It counts tokens by the server's own /tokenize: asked to, or because it looks for it where nothing is said.
SETTINGS: dict[str, tuple[int, dict[str, Any]]] = {
    "token ids in batches": (100, {"batch_size": 8, "tokenizer_backend": "remote"}),
    "texts, eight at once": (30, {"num_concurrent": 8, "tokenized_requests": False}),
}
"""How many contexts are scored, and the harness's own settings."""

Pair = tuple[str, str]
"""A context and its continuation."""


class Likelihood(NamedTuple):
    """What the model says of a continuation."""

    logprob: float
    is_greedy: bool


class Reference:
    """Scores a text by raw logits, alone, in a llama.cpp context of its own."""

    def __init__(self) -> None:
        self._model = LlamaModel(locate(MODEL).path)
        options = LlamaOptions(
            n_slots=1, prefix_cache=False, n_cells=512, n_batch=64, n_threads=2, n_gpu_layers=0
        )
        self._backend = LlamaBackend(self._model, options)
        self._batch = Batch(64)

    def score(self, pair: Pair) -> Likelihood:
        context, continuation = pair
        tokens = np.array(self._model.tokenize(context + continuation))
        # The harness counts the spaces that end a context among the continuation.
        n_context = len(self._model.tokenize(context.rstrip()))
        drawn = tokens[n_context:]
        rows = self._logits(tokens[:-1])[n_context - 1 :]
        logprob = log_softmax(rows)[np.arange(len(drawn)), drawn].sum()
        return Likelihood(float(logprob), bool((rows.argmax(axis=1) == drawn).all()))

    def _logits(self, tokens: NDArray[np.int64]) -> NDArray[np.float32]:
        count = len(tokens)
        self._batch.fill(tokens.tolist(), range(count), [0] * count, [True] * count)
        rows = decode(self._backend, self._batch)
        self._backend.truncate(0, 0)
        return rows

    def close(self) -> None:
        self._backend.close()


def pairs() -> Iterator[Pair]:
    for line in (FOLDER / "choices.jsonl").read_text("utf-8").splitlines():
        item = json.loads(line)
        yield from ((item["context"], choice) for choice in item["choices"])


@pytest.fixture(scope="module")
def expected() -> dict[Pair, Likelihood]:
    reference = Reference()
    likelihoods = {pair: reference.score(pair) for pair in pairs()}
    reference.close()
    assert len({context for context, _ in likelihoods}) == 100
    return likelihoods


async def evaluate(task: str, limit: int, arguments: dict[str, Any], folder: Path) -> list[list[Any]]:
    """Let the harness run a task on the first contexts, in a process of its own; return what it writes."""
    output = folder / "told.jsonl"
    harness = await asyncio.create_subprocess_exec(
        *(sys.executable, "evaluate.py", task, json.dumps(arguments), str(limit), output),
        cwd=FOLDER,
        env={**os.environ, "OPENAI_API_KEY": KEY, "HF_HOME": str(folder), "HF_HUB_OFFLINE": "1"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await harness.communicate()
    assert harness.returncode == 0, said.decode()
    return [json.loads(line) for line in output.read_text("utf-8").splitlines()]


async def score(limit: int, arguments: dict[str, Any], folder: Path) -> dict[Pair, Likelihood]:
    """Let the harness score every choice of the first contexts."""
    choices = await evaluate("nucleus_choices", limit, arguments, folder)
    return {(context, choice): Likelihood(*scored) for context, choice, *scored in choices}


@pytest.fixture(scope="module")
async def found(
    base_url: str, model: str, expected: dict[Pair, Likelihood], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[dict[str, asyncio.Task[dict[Pair, Likelihood]]]]:
    """What the harness makes of each setting. It takes seconds to start, so all start at once."""
    server = {"base_url": f"{base_url}/completions", "auth_token": KEY, "model": model}
    runs = {
        name: asyncio.create_task(score(limit, server | setting, tmp_path_factory.mktemp("lm_eval")))
        for name, (limit, setting) in SETTINGS.items()
    }
    yield runs
    await asyncio.gather(*runs.values(), return_exceptions=True)


@pytest.mark.timeout(300)  # some ten seconds on an idle machine
@pytest.mark.parametrize("setting", SETTINGS)
async def test_every_likelihood_is_that_of_the_raw_logits(
    found: dict[str, asyncio.Task[dict[Pair, Likelihood]]], expected: dict[Pair, Likelihood], setting: str
) -> None:
    likelihoods = await found[setting]
    assert len({context for context, _ in likelihoods}) == SETTINGS[setting][0]
    assert {pair: likelihood.is_greedy for pair, likelihood in likelihoods.items()} == {
        pair: expected[pair].is_greedy for pair in likelihoods
    }
    far = {
        pair: (likelihood.logprob, expected[pair].logprob)
        for pair, likelihood in likelihoods.items()
        if abs(likelihood.logprob - expected[pair].logprob) > 1e-3
    }
    assert not far


@pytest.mark.timeout(300)
async def test_every_answer_to_a_chat_is_that_of_the_python_door(
    base_url: str, model: str, service: CompletionService, tmp_path: Path
) -> None:
    server = {"base_url": f"{base_url}/chat/completions", "auth_token": KEY, "model": model}
    told = await evaluate("nucleus_answers", 4, server | {"num_concurrent": 4}, tmp_path)
    assert len(told) == 4
    async with PythonDoor(service) as door:
        for asked, answered in told:
            messages = json.loads(asked)
            answer = await door.chat(messages=messages, temperature=0, max_tokens=6, stop=["\n\n"], seed=1234)
            assert answer["choices"][0]["message"]["content"] == answered
