"""Where the time of a steady step goes: a step in which every stream decodes one token, and nothing else."""

from __future__ import annotations

from contextlib import contextmanager
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest.mock import patch

from engine.backend.llama import LlamaBackend
from engine.core.engine import Engine
from engine.core.loop import StepLoop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from engine.backend.base import Batch
    from engine.core.loop import Output


class Parts(NamedTuple):
    """Microseconds a token, of the engine thread; medians of the steady steps."""

    llama: float
    sampler: float
    rest: float
    """Planning, filling the batch, text, and handing over to the event loop."""


class Anatomy:
    """Times the parts of every step, while :meth:`watching`.

    Args:
        streams: How many tokens a steady step decodes.
    """

    def __init__(self, streams: int) -> None:
        self._streams = streams
        self._steps: list[tuple[float, float, float]] = []  # llama.cpp, the sampler, and all of the step
        self._decode = self._sample = self._step = 0.0
        self._is_steady = False

    def parts(self) -> Parts | None:
        """Return the medians; None if there was no steady step."""
        if not self._steps:
            return None
        llama, sampler, rest = (
            median(times) * 1e6 / self._streams
            for times in zip(*((d, s, whole - d - s) for d, s, whole in self._steps), strict=True)
        )
        return Parts(llama, sampler, rest)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch the engines of this process; each of them takes about a microsecond longer for it."""
        decode, sample = LlamaBackend.decode, StepLoop._sample
        step, deliver = StepLoop.step, Engine._deliver

        def timed_decode(backend: LlamaBackend, batch: Batch) -> Any:
            began = perf_counter()
            logits = decode(backend, batch)
            self._decode = perf_counter() - began
            self._is_steady = batch.n_rows == batch.size == self._streams
            return logits

        def timed_sample(*args: Any) -> Any:
            began = perf_counter()
            draws = sample(*args)
            self._sample = perf_counter() - began
            return draws

        def timed_step(loop: StepLoop) -> list[Output]:
            self._is_steady = False
            began = perf_counter()
            outputs = step(loop)
            self._step = perf_counter() - began
            return outputs

        def timed_deliver(engine: Engine, outputs: list[Output]) -> None:
            began = perf_counter()
            deliver(engine, outputs)
            if self._is_steady:
                self._steps.append((self._decode, self._sample, self._step + perf_counter() - began))

        with (
            patch.object(LlamaBackend, "decode", timed_decode),
            patch.object(StepLoop, "_sample", timed_sample),
            patch.object(StepLoop, "step", timed_step),
            patch.object(Engine, "_deliver", timed_deliver),
        ):
            yield
