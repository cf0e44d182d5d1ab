"""Both faces of the Python door on a model that costs no time."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from engine import LLM, AsyncLLM
from engine.service.event_loop import LoopThread
from tests.quick import AnyText, engine_of, service_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from engine.core.engine import Engine
    from tests.core.fake_backend import FakeBackend


@contextmanager
def quick_llm(backend: FakeBackend | None = None, *, max_requests: int = 64) -> Iterator[LLM]:
    engine = engine_of(backend or AnyText(), max_requests=max_requests)
    llm = LLM.__new__(LLM)
    llm._llm, llm._loop = AsyncLLM.of(service_of(engine)), LoopThread("test")
    with llm:
        yield llm


def engine_behind(llm: LLM) -> Engine:
    return llm._llm.service.engine
