"""From loading a model to closing it, or to forgetting that: nothing stays behind, and nothing hangs."""

from __future__ import annotations

import asyncio
import copy
import gc
import os
import pickle
import resource
import sys
import threading
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any

import pytest

from engine import LLM, AsyncLLM
from engine.errors import UnavailableError
from tests.embedding.child import LONG, SHORT, ask, check, load, start

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_PAGE = resource.getpagesize()
_KEPT: list[object] = []
"""What a program still has when its interpreter exits."""


def resident_bytes() -> int:
    with open("/proc/self/statm") as numbers:
        return int(numbers.read().split()[1]) * _PAGE


def weights_of(llm: LLM | AsyncLLM) -> weakref.ref[Any]:
    service = llm._llm.service if isinstance(llm, LLM) else llm.service
    return weakref.ref(service.engine.backend.model)  # type: ignore[attr-defined]


def open_and_close_often(model: str) -> None:
    for _ in range(10):  # after which the heap is as large as it gets
        with load(model) as llm:
            ask(llm)
    before = resident_bytes()
    for _ in range(90):
        with load(model) as llm:
            ask(llm)
    grown, size = resident_bytes() - before, os.path.getsize(model)
    assert grown < 40 * size, f"{grown} bytes more, for a model of {size}"
    assert threading.enumerate() == [threading.main_thread()]


@pytest.mark.skipif(sys.platform != "linux", reason="the resident memory is read from /proc")
def test_a_hundred_models_leave_nothing(tiny: Path) -> None:
    check(open_and_close_often, tiny)


def forget(model: str, kind: str) -> None:
    from engine.backend import llama_model

    freed: list[object] = []
    free = llama_model.lib.llama_model_free

    def count(handle: object) -> None:
        freed.append(handle)
        free(handle)

    llama_model.lib.llama_model_free = count
    llm = LLM(model, parallel=1) if kind == "LLM" else AsyncLLM(model, parallel=1)
    threads = [thread for thread in threading.enumerate() if thread is not threading.main_thread()]
    assert threads
    told: list[tuple[object, ...]] = []
    # A filter would also show what other packages leave open when the interpreter exits.
    warnings.warn = lambda *warning, **_: told.append(warning)
    del llm
    gc.collect()
    assert told == [("The model 'tiny' was not closed.", ResourceWarning)]
    for thread in threads:
        thread.join()
    gc.collect()
    assert len(freed) == 1


@pytest.mark.parametrize("kind", ["LLM", "AsyncLLM"])
def test_a_model_that_is_forgotten_is_freed_with_a_warning(tiny: Path, kind: str) -> None:
    check(forget, tiny, kind)


@pytest.mark.parametrize("kind", [LLM, AsyncLLM])
def test_closing_frees_the_weights_and_may_be_done_again(tiny: Path, kind: type[LLM | AsyncLLM]) -> None:
    llm = kind(str(tiny), parallel=1)
    weights = weights_of(llm)
    llm.close()
    assert weights() is None
    llm.close()
    assert llm.name == "tiny"


def test_every_method_of_a_closed_model_says_so(tiny: Path) -> None:
    with load(str(tiny)) as llm:
        begun = llm.stream(**LONG | {"max_tokens": 8000})
        next(begun)
    for call in (
        lambda: llm.complete(**SHORT),
        lambda: next(llm.stream(**SHORT)),
        lambda: list(begun),  # what had been generated may be read, but there is no end
        lambda: llm.tokenize("abc"),
        lambda: llm.detokenize([5]),
        llm.models,
        llm.tokenizer_info,
    ):
        with pytest.raises(UnavailableError, match="The model is closed"):
            call()


async def test_every_method_of_a_closed_asynchronous_model_says_so(tiny: Path) -> None:
    async with AsyncLLM(str(tiny), parallel=1) as llm:
        begun = llm.stream(**LONG | {"max_tokens": 8000})
        await anext(begun)

    async def drain() -> None:
        async for _ in begun:  # what had been generated may be read, but there is no end
            pass

    for work in (
        llm.complete(**SHORT),
        anext(llm.stream(**SHORT)),
        drain(),
        llm.open_stream(**SHORT),
        llm.tokenize("abc"),
    ):
        with pytest.raises(UnavailableError, match="The model is closed"):
            await work
    for call in (lambda: llm.detokenize([5]), llm.models, llm.tokenizer_info):
        with pytest.raises(UnavailableError, match="The model is closed"):
            call()


def test_many_threads_may_close_while_many_ask(tiny: Path) -> None:
    """Whoever waits for an answer is told, whether its request was running, waiting or on its way."""
    for _ in range(10):
        llm, gate = load(str(tiny)), threading.Barrier(16 + 4)

        def complete(llm: LLM = llm, gate: threading.Barrier = gate) -> None:
            gate.wait()
            while True:
                llm.complete(**LONG)

        def close(llm: LLM = llm, gate: threading.Barrier = gate) -> None:
            gate.wait()
            next(llm.stream(**LONG))
            llm.close()
            assert not llm._loop._thread.is_alive()

        with ThreadPoolExecutor(16 + 4) as threads:
            asked = [threads.submit(complete) for _ in range(16)]
            closed = [threads.submit(close) for _ in range(4)]
            done, _ = wait([*asked, *closed])
        assert all(isinstance(future.exception(), UnavailableError) for future in asked)
        assert all(isinstance(future.exception(), UnavailableError | None) for future in closed)
        assert any(future.exception() is None for future in closed)
        assert len(done) == 20


def test_sixteen_threads_share_one_model(tiny: Path) -> None:
    with load(str(tiny)) as llm, ThreadPoolExecutor(16) as threads:
        prompts = [f"{number} little ducks" for number in range(64)]

        def complete(prompt: str) -> int:
            return llm.complete(prompt=prompt, max_tokens=8, ignore_eos=True).usage.completion_tokens

        def stream(prompt: str) -> str | None:
            *_, last = llm.stream(prompt=prompt, max_tokens=8, ignore_eos=True)
            return last.choices[0].finish_reason

        assert list(threads.map(complete, prompts)) == [8] * len(prompts)
        assert list(threads.map(stream, prompts)) == ["length"] * len(prompts)


def test_two_models_in_one_process(tiny: Path) -> None:
    with load(str(tiny)) as first:
        answer = ask(first)
        stream = first.stream(**LONG)
        next(stream)
        with load(str(tiny)) as second:
            assert ask(second) == answer
        assert list(stream)[-1].choices[0].finish_reason == "length"
        assert ask(first) == answer


@pytest.mark.parametrize("copied", [pickle.dumps, copy.copy, copy.deepcopy])
@pytest.mark.parametrize("part", ["LLM", "AsyncLLM", "service"])
def test_a_model_is_neither_sent_nor_copied(tiny: Path, copied: Callable[[Any], object], part: str) -> None:
    with load(str(tiny)) as llm:
        parts: dict[str, Any] = {"LLM": llm, "AsyncLLM": llm._llm, "service": llm._llm.service}
        with pytest.raises(TypeError, match=r"cannot be pickled or copied.*name and options"):
            copied(parts[part])
        assert ask(llm)


async def test_a_blocking_model_answers_inside_a_running_loop(tiny: Path) -> None:
    """As a cell of a notebook does."""
    with load(str(tiny)) as llm:
        assert [chunk.choices[0].index for chunk in llm.stream(**SHORT)]
        assert ask(llm) == (await asyncio.to_thread(ask, llm))


def test_an_exception_leaves_the_block_at_once(tiny: Path) -> None:
    llm = load(str(tiny))
    stream = llm.stream(**LONG)

    def fail() -> None:
        with llm:
            next(stream)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not llm._loop._thread.is_alive()
    with pytest.raises(UnavailableError):
        next(stream)


def exit_with_streams(model: str, how: str) -> None:
    """Leave open whatever can be open, and end the program."""
    llm = load(model)
    has_begun = threading.Semaphore(0)

    def read() -> None:
        for _ in llm.stream(**LONG | {"max_tokens": 3000}):
            has_begun.release()

    def complete() -> None:
        has_begun.release()
        while True:
            llm.complete(**LONG)

    for target in (read, complete, complete):
        threading.Thread(target=target, daemon=True).start()
        has_begun.acquire()
    stream = llm.stream(**LONG)
    next(stream)
    _KEPT.extend([stream, llm])
    if how == "event loop":

        async def leave() -> None:
            other = AsyncLLM(model, parallel=1, threads=1)
            _KEPT.append(other)
            _KEPT.append(asyncio.ensure_future(other.complete(**LONG)))
            chunks = other.stream(**LONG)
            _KEPT.append(chunks)
            await anext(chunks)

        asyncio.run(leave())
    elif how == "exit":
        sys.exit(0)


@pytest.mark.parametrize("how", ["end", "exit", "event loop"])
def test_the_interpreter_exits_with_streams_open(tiny: Path, how: str) -> None:
    check(exit_with_streams, tiny, how)


def fail_in_block(model: str) -> None:
    with load(model) as llm:
        _KEPT.append(llm.stream(**LONG))
        next(_KEPT[0])  # type: ignore[call-overload]
        raise ZeroDivisionError("mine")


def test_a_program_that_fails_shows_its_own_error_alone(tiny: Path) -> None:
    run = start(fail_in_block, tiny)
    assert run.returncode == 1
    assert run.stderr.count("Traceback") == 1
    assert run.stderr.endswith("ZeroDivisionError: mine\n")
