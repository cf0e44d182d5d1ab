"""A process that forks with a model open: the child is told at once, and the parent goes on."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from engine import LLM, AsyncLLM
from engine.errors import UnavailableError
from tests.embedding.child import LONG, SHORT, ask, check, load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from engine.contract.responses import CompletionChunk

_LEFT = 7
"""With which exit status a child leaves that has found everything as it should be."""


def expect_refusal(call: Callable[[], object]) -> None:
    with pytest.raises(UnavailableError, match=r"forked.*in the child.*spawn"):
        call()


def expect_all_refused(llm: LLM, stream: Iterator[CompletionChunk]) -> None:
    for call in (
        lambda: llm.complete(**SHORT),
        lambda: next(llm.stream(**SHORT)),
        lambda: next(stream),
        lambda: llm.tokenize("abc"),
        lambda: llm.tokenize("abc" * 9999),
        lambda: llm.detokenize([5]),
        llm.models,
        llm.tokenizer_info,
    ):
        expect_refusal(call)
    assert llm.name == "tiny"


def in_fork(run: Callable[[], object]) -> None:
    """Run something in a child that then leaves through the interpreter's whole shutdown."""
    child = os.fork()
    if not child:
        run()
        sys.exit(_LEFT)
    expect_left(child)


def expect_left(child: int) -> None:
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == _LEFT


def fork_while(model: str, state: str) -> None:
    llm = load(model)
    answer = ask(llm)
    stream = llm.stream(**LONG)
    next(stream)
    others = [
        threading.Thread(target=llm.complete, kwargs=LONG),
        threading.Thread(target=list, args=[llm.stream(**LONG)]),
    ]
    if state == "busy":
        for other in others:
            other.start()

    def child() -> None:
        expect_all_refused(llm, stream)
        with load(model) as own:
            assert ask(own) == answer
        llm.close()
        llm.close()
        with pytest.raises(UnavailableError):
            llm.complete(**SHORT)

    for _ in range(2):  # as a server does that loads a model and then forks its workers
        in_fork(child)
    in_fork(lambda: None)
    assert list(stream)[-1].choices[0].finish_reason == "length"
    if state == "busy":
        for other in others:
            other.join()
    assert ask(llm) == answer
    if state != "unclosed":
        llm.close()


@pytest.mark.parametrize("state", ["busy", "unclosed"])
def test_a_child_is_told_and_its_parent_goes_on(tiny: Path, state: str) -> None:
    check(fork_while, tiny, state)


def fork_with_asynchronous_model(model: str) -> None:
    llm = AsyncLLM(model, parallel=2, threads=1)

    async def fork_in_loop() -> None:
        stream = llm.stream(**LONG)
        await anext(stream)
        child = os.fork()
        if not child:
            for work in (anext(stream), llm.complete(**SHORT), llm.tokenize("abc")):
                with pytest.raises(UnavailableError, match="forked"):
                    await work
            os._exit(_LEFT)  # a loop belongs to the process that runs it
        expect_left(child)
        await stream.aclose()

    asyncio.run(fork_in_loop())
    service = llm.service

    def child() -> None:
        for work in (
            lambda: llm.complete(**SHORT),
            lambda: anext(llm.stream(**SHORT)),
            lambda: service.complete(service.parse({"model": llm.name, **SHORT})),
            lambda: service.stream(service.parse({"model": llm.name, **SHORT})),
            lambda: service.tokenize({"prompt": "abc"}),
        ):
            expect_refusal(lambda work=work: asyncio.run(awaited(work)))  # type: ignore[misc]
        for call in (llm.models, service.models, service.tokenizer_info, lambda: llm.detokenize([5])):
            expect_refusal(call)
        assert not service.is_alive
        service.close()

    in_fork(child)
    assert asyncio.run(llm.complete(**SHORT)).choices


async def awaited(work: Callable[[], object]) -> object:
    return await work()  # type: ignore[misc]


def test_the_asynchronous_model_and_the_service_tell_too(tiny: Path) -> None:
    check(fork_with_asynchronous_model, tiny)


def leave_if_refused(llm: LLM) -> None:
    expect_refusal(lambda: llm.complete(**SHORT))
    sys.exit(_LEFT)


def load_and_leave(model: str, answer: str) -> None:
    with load(model) as llm:
        sys.exit(_LEFT if ask(llm) == answer else 1)


def use_multiprocessing(model: str) -> None:
    with load(model) as llm:
        answer = ask(llm)
        fork, spawn = multiprocessing.get_context("fork"), multiprocessing.get_context("spawn")
        ways: list[Any] = [
            fork.Process(target=leave_if_refused, args=(llm,)),
            fork.Process(target=load_and_leave, args=(model, answer)),
            spawn.Process(target=load_and_leave, args=(model, answer)),
        ]
        for process in ways:
            process.start()
            process.join()
            assert process.exitcode == _LEFT
        with fork.Pool(1) as pool:
            for send in (
                spawn.Process(target=leave_if_refused, args=(llm,)).start,
                lambda: pool.apply(leave_if_refused, (llm,)),
            ):
                with pytest.raises(TypeError, match="name and options"):
                    send()
        assert ask(llm) == answer


def test_multiprocessing_forks_and_spawns(tiny: Path) -> None:
    check(use_multiprocessing, tiny)


def drop_in_fork(model: str) -> None:
    from engine.backend import llama_model

    loaded = llama_model.LlamaModel(Path(model))
    freed: list[object] = []
    llama_model.lib.llama_model_free = freed.append
    holder = [loaded]
    del loaded
    child = os.fork()
    holder.clear()
    if not child:
        os._exit(_LEFT if not freed else 1)
    expect_left(child)
    assert len(freed) == 1


def test_a_child_does_not_free_what_its_parent_has_on_a_device(tiny: Path) -> None:
    check(drop_in_fork, tiny)
