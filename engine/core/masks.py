"""Which tokens the forms of answers allow next: computed while the model computes."""

from __future__ import annotations

import logging
import os
import threading
import time
from queue import SimpleQueue
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from engine.core.sequence import Sequence
    from engine.grammar.executor import MaskExecutor
    from engine.grammar.matcher import Matcher

log = logging.getLogger("nucleus.masks")

_MOST_THREADS = 8

_Jobs = list[tuple["Matcher", int]]


class Masks:
    """One mask for each slot whose answer has a form; a thread of its own computes them, without the GIL.

    Between :meth:`start` and :meth:`wait` the matchers are the thread's.

    Args:
        n_slots: How many slots there are.
        n_vocab: How many tokens there are.

    Attributes:
        n_steps: Steps that needed masks.
        n_late: Those of them that had to wait for one.
        seconds_late: How long they waited.
    """

    def __init__(self, n_slots: int, n_vocab: int) -> None:
        self._masks = np.zeros((n_slots, (n_vocab + 31) // 32), np.int32)
        self._jobs: SimpleQueue[_Jobs | None] = SimpleQueue()
        self._running: _Jobs = []
        self._done = threading.Event()
        self._done.set()
        self._thread: threading.Thread | None = None
        self.n_steps = self.n_late = 0
        self.seconds_late = 0.0

    def start(self, sequences: Iterable[Sequence]) -> None:
        """Begin with the masks of those that are about to draw and whose answers have a form."""
        jobs = [(each.matcher, each.slot) for each in sequences if each.matcher is not None]
        if not jobs:
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="nucleus-masks", daemon=True)
            self._thread.start()
        self._done.wait()  # a step that failed has left its masks to themselves
        self._done.clear()
        self._running = jobs
        self.n_steps += 1
        self._jobs.put(jobs)

    def wait(self) -> NDArray[np.int32]:
        """Return the masks, int32 ``[n_slots, words]``, a bit for a token; a form that failed allows none."""
        if not self._done.is_set():
            self.n_late += 1
            began = time.perf_counter()
            self._done.wait()
            self.seconds_late += time.perf_counter() - began
        for matcher, slot in self._running:
            if matcher.problem is not None:
                self._masks[slot] = 0
        self._running = []
        return self._masks

    def close(self) -> None:
        """End the thread."""
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join()

    def _work(self) -> None:
        executor: MaskExecutor | None = None
        while (jobs := self._jobs.get()) is not None:
            try:
                executor = executor or _executor(len(self._masks))
                executor.fill(jobs, self._masks)
            except (
                BaseException
            ):  # a panic of the library is no Exception, and the engine waits for this thread
                log.exception("masks could not be computed")
                self._masks[[slot for _, slot in jobs]] = 0
            finally:
                self._done.set()


def _executor(n_slots: int) -> MaskExecutor:
    from engine.grammar.executor import MaskExecutor

    return MaskExecutor(min(n_slots, _MOST_THREADS, os.cpu_count() or 1))
