"""What the benchmarks found, as the short tables that ``make bench`` ends with."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.anatomy import Parts


@dataclass(frozen=True, slots=True)
class Throughput:
    """Medians of one row of the throughput table."""

    model: str
    streams: int
    logprobs: int | None
    whole: bool
    """Whether each answer came as a whole."""
    bare: float
    """Tokens per second of llama.cpp alone."""
    engine: float
    """Tokens per second of the engine."""
    ratio: float
    """Median of the rounds' own ratios; not the quotient of the two medians."""
    elsewhere: float | None
    """Most processors that other programs kept busy in any of the rounds that count."""
    parts: Parts | None
    """Where the time of a steady step goes."""
    event_loop: float
    """Microseconds of processor time a token of the event loop, with the clients in it."""


@dataclass(frozen=True, slots=True)
class Overhead:
    """Medians of one row of the overhead table, in microseconds of processor time a token."""

    streams: int
    logprobs: int | None
    engine: float
    """Of the engine thread."""
    event_loop: float
    """Of the event loop, with the clients that read the streams in it."""


@dataclass(frozen=True, slots=True)
class Context:
    """What a token costs the engine thread behind a long text, beside a short one."""

    streams: int
    short: int
    """Tokens of context."""
    long: int
    ratio: float
    """Median of the rounds' own ratios of processor time."""


@dataclass(slots=True)
class Report:
    """All rows of one run."""

    throughput: list[Throughput] = field(default_factory=list)
    overhead: list[Overhead] = field(default_factory=list)
    context: list[Context] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        """Write the tables that have rows."""
        if self.throughput:
            yield f"{'tokens/s':24}{'streams':>8}{'bare':>9}{'engine':>9}{'ratio':>7}{'elsewhere':>11}"
            yield from map(_throughput_line, self.throughput)
            yield from self._gains()
            yield ""
            yield (
                f"{'a steady step, µs a token':24}{'streams':>8}{'llama.cpp':>11}{'sampler':>9}{'rest':>7}"
                f"{'loop':>7}{'sampler and rest':>18}"
            )
            yield from (line for row in self.throughput for line in _anatomy_lines(row))
        if self.overhead:
            yield f"{'no model, µs a token':24}{'streams':>8}{'engine':>9}{'loop':>9}"
            yield from map(_overhead_line, self.overhead)
        for row in self.context:
            told = f"no model, streams: {row.streams}, context: {row.long:,} against {row.short:,} tokens"
            yield f"{told}: {row.ratio:.2f} times the time a token"

    def _gains(self) -> Iterator[str]:
        """Compare all of 16 streams with one, for each model that has both."""
        rows = {(row.model, row.streams): row for row in self.throughput if _is_plain(row)}
        for model in dict.fromkeys(row.model for row in self.throughput):
            one, many = rows.get((model, 1)), rows.get((model, 16))
            if one and many:
                yield (
                    f"{model}: 16 streams together are {many.engine / one.engine:.2f} times one stream "
                    f"(bare: {many.bare / one.bare:.2f})"
                )


class Elsewhere:
    """How many processors the rest of the machine keeps busy: what spoils a measurement, told beside it."""

    def __init__(self) -> None:
        self._start = _busy_seconds(), time.process_time(), time.perf_counter()

    def processors(self) -> float | None:
        """Return the average since the start, or None where the system does not tell."""
        (busy, own, clock), now = self._start, _busy_seconds()
        if busy is None or now is None:
            return None
        others = (now - busy) - (time.process_time() - own)
        return max(0.0, others / (time.perf_counter() - clock))


def _busy_seconds() -> float | None:
    """Return the seconds that all processors have worked since boot (``proc_stat(5)``)."""
    try:
        user, nice, system, _idle, _iowait, *rest = Path("/proc/stat").read_text().split()[1:9]
    except OSError:
        return None
    return sum(map(int, (user, nice, system, *rest))) / os.sysconf("SC_CLK_TCK")


def _throughput_line(row: Throughput) -> str:
    elsewhere = "-" if row.elsewhere is None else f"{row.elsewhere:.2f}"
    return f"{_name(row):24}{row.streams:8}{row.bare:9.1f}{row.engine:9.1f}{row.ratio:7.2f}{elsewhere:>11}"


def _anatomy_lines(row: Throughput) -> Iterator[str]:
    if row.parts is not None:
        llama, sampler, rest = row.parts
        yield (
            f"{_name(row):24}{row.streams:8}{llama:11.0f}{sampler:9.1f}{rest:7.1f}{row.event_loop:7.1f}"
            f"{(sampler + rest) / (llama + sampler + rest):17.1%}"
        )


def _is_plain(row: Throughput) -> bool:
    """Tell whether a row is of streams with log-probabilities, as most are."""
    return row.logprobs is not None and not row.whole


def _name(row: Throughput) -> str:
    if _is_plain(row):
        return row.model
    return "  whole answers" if row.whole else "  without logprobs"


def _overhead_line(row: Overhead) -> str:
    name = "" if row.logprobs is None else f"  with logprobs={row.logprobs}"
    return f"{name:24}{row.streams:8}{row.engine:9.1f}{row.event_loop:9.1f}"
