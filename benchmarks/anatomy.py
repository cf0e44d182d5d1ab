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
        self._seconds = {"decode": 0.0, "sample": 0.0, "step": 0.0, "deliver": 0.0}
        self._is_steady = False
        self._steps: list[tuple[float, float, float]] = []

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch the engines of this process; each step takes about a microsecond longer for it."""
        with (
            self._timed(LlamaBackend, "decode", "decode"),
            self._timed(StepLoop, "_sample", "sample"),
            self._timed(StepLoop, "step", "step"),
            self._timed(Engine, "_deliver", "deliver"),
        ):
            yield

    def parts(self) -> Parts | None:
        """Return the medians; None if there was no steady step."""
        if not self._steps:
            return None
        medians = [median(times) * 1e6 / self._streams for times in zip(*self._steps, strict=True)]
        return Parts(*medians)

    def _timed(self, owner: type, method: str, name: str) -> Any:
        untimed = getattr(owner, method)

        def timed(this: Any, *arguments: Any) -> Any:
            if name == "decode":
                batch = arguments[0]
                self._is_steady = batch.n_rows == batch.size == self._streams
            began = perf_counter()
            result = untimed(this, *arguments)
            self._seconds[name] = perf_counter() - began
            if name == "deliver" and self._is_steady:
                decode, sample, step, deliver = self._seconds.values()
                self._steps.append((decode, sample, step + deliver - decode - sample))
                self._is_steady = False
            return result

        return patch.object(owner, method, timed)
