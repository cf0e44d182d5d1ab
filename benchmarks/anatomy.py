"""Where the time of a steady step goes: a step in which every stream decodes one token, and nothing else."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest.mock import patch

from engine.backend.llama import LlamaBackend
from engine.core.answers import Answers
from engine.core.loop import StepLoop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_TIMED = ((LlamaBackend, "start"), (LlamaBackend, "logits"), (Answers, "draw"), (StepLoop, "step"))
"""In the order in which a step ends them; where the model runs by itself, waiting for it is in the second."""


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
        self._seconds: dict[str, float] = {}
        self._is_steady = False
        self._steps: list[tuple[float, float, float]] = []

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch the engines of this process; each step takes about a microsecond longer for it."""
        with ExitStack() as patches:
            for owner, method in _TIMED:
                timed = self._timed(method, getattr(owner, method))
                patches.enter_context(patch.object(owner, method, timed))
            yield

    def parts(self) -> Parts | None:
        """Return the medians; None if there was no steady step."""
        if not self._steps:
            return None
        return Parts(*(median(seconds) * 1e6 / self._streams for seconds in zip(*self._steps, strict=True)))

    def _timed(self, method: str, untimed: Callable[..., Any]) -> Callable[..., Any]:
        def timed(this: Any, *arguments: Any) -> Any:
            if method == "start":
                (batch,) = arguments
                self._is_steady = batch.n_rows == batch.size == self._streams
            began = perf_counter()
            result = untimed(this, *arguments)
            self._seconds[method] = perf_counter() - began
            if method == "step" and self._is_steady:
                start, wait, draw, step = (self._seconds[name] for _, name in _TIMED)
                self._steps.append((start + wait, draw, step - start - wait - draw))
                self._is_steady = False
            return result

        return timed
