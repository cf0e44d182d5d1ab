"""What a seed and a score promise: the same numbers, to the bit, whoever else is served."""

from __future__ import annotations

import asyncio
import ctypes
import itertools
import os
from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.client import CallError
from engine.backend.base import BackendError
from engine.backend.invariance import NEVER
from engine.backend.llama import LlamaBackend
from engine.backend.llama_log import lib
from engine.core.policy import SchedulingPolicy
from engine.core.scheduler import Scheduler
from engine.errors import ModelLoadError
from engine.kvcache.operations import FreeDeferred
from engine.loading import trial
from engine.loading.launch import launch
from engine.loading.options import EngineOptions
from engine.models.names import locate
from tests.conftest import MODEL
from tests.doors import PythonDoor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from engine.backend.base import Batch
    from engine.core.plan import Plan
    from engine.service.service import CompletionService
    from tests.doors import Answer

NO_END = {"0": -100, "2": -100}
"""Bans what ends a text."""
N_CELLS = 512
STARTS = itertools.count(5000)


FORGETFUL = SchedulingPolicy(min_new_tokens=N_CELLS)
"""Saves no prefix, so that what comes again is computed again."""
TYPES = {"Q4_K_M": lib.LLAMA_FTYPE_MOSTLY_Q4_K_M, "F16": lib.LLAMA_FTYPE_MOSTLY_F16}


def launched(policy: SchedulingPolicy, **options: Any) -> CompletionService:
    """Return four slots and a cache that is short of room whenever all of them are in use."""
    given = {"model": MODEL, "parallel": 4, "ctx_size": N_CELLS} | options
    return launch(EngineOptions.model_validate(given), policy=policy).service


def quantized(path: Path, types: int) -> Path:
    """Write the model with weights of other types."""
    params = lib.llama_model_quantize_default_params()
    params.ftype, params.allow_requantize = types, True
    source = os.fsencode(locate(MODEL).path)
    assert lib.llama_model_quantize(source, os.fsencode(path), ctypes.byref(params)) == 0
    return path


@pytest.fixture(scope="module")
def python() -> Iterator[PythonDoor]:
    with closing(launched(SchedulingPolicy())) as service:
        yield PythonDoor(service)


@pytest.fixture(scope="module")
def forgetful() -> Iterator[PythonDoor]:
    with closing(launched(FORGETFUL)) as service:
        yield PythonDoor(service)


def words(count: int) -> list[int]:
    """Return token ids that nobody has seen before."""
    return [next(STARTS), *(504 + i % 300 for i in range(count - 1))]


@asynccontextmanager
async def crowd(door: PythonDoor) -> AsyncIterator[None]:
    """Keep three others busy with requests of all lengths that come and go; they begin like each other."""
    prompt = words(80)

    async def keep_asking(number: int) -> None:
        for turn in itertools.count(number):
            length = 20 + turn * 13 % 60
            fields: Answer = {"prompt": [*prompt[:length], turn], "logit_bias": NO_END}
            await door.complete(**fields, max_tokens=1 + turn % 5, seed=turn if turn % 2 else None)

    others = [asyncio.create_task(keep_asking(number)) for number in (1, 4, 8)]
    try:
        yield
    finally:
        for other in others:
            other.cancel()
        await asyncio.gather(*others, return_exceptions=True)


def told(answer: Answer) -> Any:
    return answer["choices"]


@pytest.fixture
def clearances(monkeypatch: pytest.MonkeyPatch) -> list[Plan]:
    """The steps in which cells were freed though somebody repeats."""
    plan = Scheduler.plan
    found: list[Plan] = []

    def watched(scheduler: Scheduler) -> Plan:
        made = plan(scheduler)
        if made.batch_invariant and any(isinstance(operation, FreeDeferred) for operation in made.cache):
            found.append(made)
        return made

    monkeypatch.setattr(Scheduler, "plan", watched)
    return found


async def test_a_seed_repeats_to_the_bit_alone_and_in_a_crowd(
    forgetful: PythonDoor, clearances: list[Plan]
) -> None:
    """The text is longer than what a lone token's attention can be taken over in one piece."""
    fields: Answer = {"prompt": words(270), "seed": 5, "logprobs": 5, "logit_bias": NO_END}
    fields["max_tokens"] = 36
    alone = await forgetful.complete(**fields)
    async with crowd(forgetful):
        beside = await forgetful.complete(**fields)
    assert told(beside) == told(alone)
    assert clearances, "the crowd is to be one in which cells run short"


async def test_scores_are_the_same_alone_and_in_a_crowd(forgetful: PythonDoor) -> None:
    fields: Answer = {"prompt": words(100), "echo": True, "max_tokens": 0, "logprobs": 2}
    alone = await forgetful.complete(**fields)
    async with crowd(forgetful):
        beside = await forgetful.complete(**fields)
    assert told(beside) == told(alone)


async def test_a_warm_prefix_makes_no_difference(python: PythonDoor) -> None:
    prompt = words(60)
    fields: Answer = {"max_tokens": 8, "seed": 5, "logprobs": 2}
    cold = await python.complete(prompt=[*prompt, 9], **fields)
    await python.complete(prompt=[*prompt, 10, 11], max_tokens=4, seed=1, logit_bias=NO_END)
    warm = await python.complete(prompt=[*prompt, 9], **fields)
    assert told(warm) == told(cold)
    counts = [answer["usage"]["prompt_tokens_details"]["cached_tokens"] for answer in (cold, warm)]
    assert counts == [0, 60]


async def test_who_repeats_takes_no_prefix_that_was_computed_in_another_way(python: PythonDoor) -> None:
    prompt = words(60)
    await python.complete(prompt=prompt, max_tokens=4, logit_bias=NO_END)
    answer = await python.complete(prompt=prompt, max_tokens=1, seed=1)
    assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] == 0


async def test_a_model_whose_kernels_depend_on_the_company_promises_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # what is found here is not to be remembered
    logits_of = LlamaBackend.logits

    def moody(backend: LlamaBackend) -> Any:
        logits = logits_of(backend)
        logits[-1] += len(logits) > 1  # of rows that round differently, some still come out the same
        return logits

    monkeypatch.setattr(LlamaBackend, "logits", moody)
    with closing(launched(SchedulingPolicy(), parallel=1)) as service:
        assert service.engine.backend.batch_invariance is NEVER


@pytest.mark.parametrize("types", [*TYPES])
async def test_a_file_of_any_type_repeats_to_the_bit_once_it_is_asked_to(types: str, tmp_path: Path) -> None:
    file = str(path := quantized(tmp_path / "m.gguf", TYPES[types]))
    trial.remember(path)  # tests of trials try them
    with closing(launched(SchedulingPolicy(), model=file, parallel=1)) as service:
        assert service.engine.backend.batch_invariance is NEVER, "it is not free"
    with closing(launched(FORGETFUL, model=file, batch_invariant="on")) as service:
        door = PythonDoor(service)
        fields: Answer = {"prompt": words(70), "seed": 5, "logprobs": 5, "logit_bias": NO_END}
        alone = await door.complete(**fields, max_tokens=24)
        async with crowd(door):
            beside = await door.complete(**fields, max_tokens=24)
    assert told(beside) == told(alone)


async def test_keys_and_values_in_blocks_repeat_to_the_bit() -> None:
    with closing(launched(FORGETFUL, cache_type_k="q8_0", cache_type_v="q8_0")) as service:
        assert service.engine.backend.batch_invariance.is_free
        door = PythonDoor(service)
        fields: Answer = {"prompt": words(70), "seed": 5, "logprobs": 5, "logit_bias": NO_END}
        alone = await door.complete(**fields, max_tokens=12)
        async with crowd(door):
            beside = await door.complete(**fields, max_tokens=12)
    assert told(beside) == told(alone)


def test_without_flash_attention_nothing_is_promised() -> None:
    """Its widths alone would say otherwise: what differs is where others' cells lie."""
    with closing(launched(SchedulingPolicy(), flash_attn="off")) as service:
        backend = service.engine.backend
        assert backend.batch_invariance is NEVER
        assert isinstance(backend, LlamaBackend)
        assert backend.why_not_batch_invariant == "attention is batch-invariant only as flash attention"
    with pytest.raises(ModelLoadError, match=r"--batch-invariant on is not possible with .*flash attention"):
        launched(SchedulingPolicy(), flash_attn="off", batch_invariant="on")


def test_where_it_cannot_be_had_asking_for_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.backend.llama.batch_invariance", lambda *_: NEVER)
    with pytest.raises(ModelLoadError, match=r"--batch-invariant on is not possible with .*: its kernels"):
        launched(SchedulingPolicy(), batch_invariant="on")


async def test_who_asks_for_none_gets_none() -> None:
    with closing(launched(SchedulingPolicy(), batch_invariant="off")) as service:
        assert service.engine.backend.batch_invariance is NEVER


async def test_a_model_that_cannot_be_tried_out_is_loaded_all_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def failing(backend: LlamaBackend, batch: Batch) -> Any:
        raise BackendError("llama_decode returned -1")

    monkeypatch.setattr(LlamaBackend, "start", failing)
    with closing(launched(SchedulingPolicy(), parallel=1)) as service:
        assert service.engine.backend.batch_invariance is NEVER
        with pytest.raises(CallError, match="has failed"):  # and so will whatever comes next
            await PythonDoor(service).complete(prompt="a")
