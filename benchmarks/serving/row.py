"""One row of the throughput table: a side under some load, in all its rounds."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.serving.figure import Figure, calm_ones
from benchmarks.serving.summary import Percentiles

if TYPE_CHECKING:
    from benchmarks.serving.job import Door, Outcome, Work

HEADING = (
    f"{'server':18}{'door':7}{'load':>13}{'logprobs':>9}{'tokens/s':>9}{'TTFT p50':>9}{'p95':>8}{'p99':>8}"
    f"{'ITL p50':>9}{'p95':>8}{'p99':>8}{'client':>8}{'rounds':>7}{'elsewhere':>10}{'cut':>5}{'errors':>7}"
)
"""Times are milliseconds; ``client`` is its seconds of processor time. Of the rounds those that count."""


@dataclass(frozen=True, slots=True)
class Row:
    """Every figure is the median of the calm rounds, or of all if none was calm."""

    model: str
    server: str
    door: Door
    work: Work
    turns: list[Outcome] = field(default_factory=list)
    """One for each round."""

    @property
    def throughput(self) -> Figure | None:
        """Tokens that came in a second; None before the first round."""
        return Figure.of([(turn.summary.tokens_per_s, turn.spent.elsewhere) for turn in self.turns])

    @property
    def tokens_per_s(self) -> float:
        """The throughput's value."""
        return self.throughput.value if self.throughput else 0.0

    @property
    def requests_per_s(self) -> float:
        """Requests that were answered in a second."""
        each = [turn.summary.tokens_per_request for turn in self._counted() if turn.summary.requests]
        return self.tokens_per_s / median(each) if each else 0.0

    @property
    def first_error(self) -> str | None:
        """Why a request failed, if one did."""
        return next((turn.summary.first_error for turn in self.turns if turn.summary.first_error), None)

    def text(self) -> str:
        """Write the row as :data:`HEADING` has it."""
        found, turns = self.throughput, self._counted()
        logprobs = "-" if self.work.logprobs is None else self.work.logprobs
        elsewhere = "-" if found is None or found.elsewhere is None else f"{found.elsewhere:.2f}"
        client = median(turn.spent.client for turn in turns) if turns else 0.0
        busy = "" if found is None or found.is_calm else "  busy"
        return (
            f"{self.server:18}{self.door:7}{self.work.load:>13}{logprobs:>9}{self.tokens_per_s:9.1f}"
            f"{_shown(self._first_token())}{_shown(self._between_tokens())}"
            f"{client:8.2f}{f'{len(turns)}/{len(self.turns)}':>7}{elsewhere:>10}"
            f"{sum(turn.summary.cut for turn in self.turns):5}"
            f"{sum(turn.summary.errors for turn in self.turns):7}{busy}"
        )

    def entry(self) -> dict[str, object]:
        """Return the row for JSON, with every round."""
        return {
            "server": self.server,
            "door": self.door,
            "clients": self.work.clients,
            "requests_per_s": None if self.work.rate is None else round(self.work.rate, 3),
            "logprobs": self.work.logprobs,
            "seconds": self.work.seconds,
            "tokens_per_s": self.throughput and self.throughput.entry(),
            "first_token": _named(self._first_token()),
            "between_tokens": _named(self._between_tokens()),
            "rounds": [turn.entry() for turn in self.turns],
        }

    def _counted(self) -> list[Outcome]:
        return calm_ones(self.turns, lambda turn: turn.spent.elsewhere)

    def _first_token(self) -> Percentiles | None:
        return Percentiles.median(turn.summary.first_token for turn in self._counted())

    def _between_tokens(self) -> Percentiles | None:
        return Percentiles.median(turn.summary.between_tokens for turn in self._counted())


def _shown(times: Percentiles | None) -> str:
    shown = ("-",) * 3 if times is None else tuple(f"{time:.0f}" for time in times)
    return f"{shown[0]:>9}{shown[1]:>8}{shown[2]:>8}"


def _named(times: Percentiles | None) -> dict[str, float] | None:
    return None if times is None else times._asdict()
