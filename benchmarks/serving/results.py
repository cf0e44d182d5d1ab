"""All that one run found: rows, what they are compared with, scenarios; as tables, a JSON file and a plot."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.machine import Figure, calm_ones, describe, most
from benchmarks.report import Panel, Table, plot, write_json
from benchmarks.servers import LLAMA_CPP_PYTHON, OURS, XLLAMACPP
from benchmarks.serving.turn import Percentiles

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from benchmarks.servers import Door
    from benchmarks.serving.turn import Turn, Work

CLIENTS = 8
"""The closed loop that the goals are about."""
LOGPROBS = 5
"""What the requests ask for in the second half of the goals; in the first they ask for none."""

_PEER_GOALS: dict[str, dict[str, float]] = {
    "smollm2-135m-instruct": {XLLAMACPP: 1.25, LLAMA_CPP_PYTHON: 2.5},
    "gemma-3-270m": {XLLAMACPP: 2.0, LLAMA_CPP_PYTHON: 4.0},
}
"""Model -> peer -> least ratio of our tokens per second over HTTP to the peer's."""
_DOOR_GOALS: dict[Door, float] = {"http": 0.93, "grpc": 0.95}
"""Door -> least ratio of its tokens per second to those of the engine in the client's own process."""
_SPINNING = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")  # what was set for all servers alike
_NAMES = {OURS: "Nucleus", XLLAMACPP: "llama.cpp's server"}

ROWS = Table(
    {"server": "<18", "door": "<7", "load": ">13", "logprobs": ">9d", "tokens/s": ">9.1f"}
    | {"TTFT p50": ">9.0f", "p95": ">8.0f", "p99": ">8.0f"}
    | {"ITL p50": ">9.0f", " p95": ">8.0f", " p99": ">8.0f"}
    | {"client": ">8.2f", "rounds": ">7", "elsewhere": ">10.2f", "cut": ">5d", "errors": ">7d"}
)
"""Times are milliseconds; ``client`` is its seconds of processor time. Of the rounds those that count."""
RATIOS = Table(
    {f"tokens/s, {CLIENTS} clients": "<40", "logprobs": ">9d", "ratio": ">8"}
    | {"goal": ">9", "rounds": ">7", "elsewhere": ">10.2f"}
)
SCENARIOS = Table(
    {"scenario, ms": "<72", "without": ">9.1f", "with": ">9.1f", "ratio": ">9"}
    | {"goal": ">9", "rounds": ">7", "elsewhere": ">10.2f"}
)


@dataclass(frozen=True, slots=True)
class Row:
    """A side under some load. Every figure is the median of the calm rounds, or of all if none was calm."""

    model: str
    server: str
    door: Door
    work: Work
    turns: list[Turn] = field(default_factory=list)
    """One for each round."""

    @property
    def throughput(self) -> Figure | None:
        """Tokens that came in a second; None before the first round."""
        return Figure.of([(turn.tokens_per_s, turn.elsewhere) for turn in self.turns])

    @property
    def requests_per_s(self) -> float:
        """Requests that were answered in a second."""
        each = [turn.tokens_per_request for turn in self._counted() if turn.requests]
        return self.throughput.value / median(each) if self.throughput and each else 0.0

    @property
    def first_error(self) -> str | None:
        """Why a request failed, if one did."""
        return next((turn.first_error for turn in self.turns if turn.first_error), None)

    def text(self) -> str:
        """Write the row as :data:`ROWS` has it."""
        found, turns = self.throughput, self._counted()
        return ROWS.line(
            *(
                self.server,
                self.door,
                self.work.load,
                self.work.logprobs,
                None if found is None else found.value,
            ),
            *(self._times("first_token") or (None,) * 3),
            *(self._times("between_tokens") or (None,) * 3),
            median(turn.client_cpu_s for turn in turns) if turns else None,
            *(f"{len(turns)}/{len(self.turns)}", None if found is None else found.elsewhere),
            *(sum(turn.cut for turn in self.turns), sum(turn.errors for turn in self.turns)),
            remarks=["busy"] if found and not found.is_calm else [],
        )

    def entry(self) -> dict[str, Any]:
        """Return the row for JSON, with every round."""
        first, between = self._times("first_token"), self._times("between_tokens")
        return {
            "server": self.server,
            "door": self.door,
            "clients": self.work.clients,
            "requests_per_s": None if self.work.rate is None else round(self.work.rate, 3),
            "logprobs": self.work.logprobs,
            "seconds": self.work.seconds,
            "tokens_per_s": self.throughput and self.throughput.entry(),
            "first_token": first and first._asdict(),
            "between_tokens": between and between._asdict(),
            "rounds": [turn.entry() for turn in self.turns],
        }

    def _counted(self) -> list[Turn]:
        return calm_ones(self.turns, lambda turn: turn.elsewhere)

    def _times(self, name: str) -> Percentiles | None:
        return Percentiles.median(getattr(turn, name) for turn in self._counted())


class Goal(NamedTuple):
    """A door of ours, what it is compared with, and the least ratio of our tokens per second to its."""

    ours: Door
    server: str
    door: Door
    least: float


class Comparison(NamedTuple):
    """Ours over the other's, of turns that were one soon after the other."""

    goal: Goal
    logprobs: int | None
    ratio: Figure
    """Median of the rounds' own ratios, of those in which both sides were calm if there are any."""

    @property
    def reached(self) -> bool:
        """True if the ratio is what it is meant to be."""
        return self.ratio.value >= self.goal.least

    def text(self) -> str:
        """Write the line as :data:`RATIOS` has it."""
        other = "the engine in process" if self.goal.server == OURS else self.goal.server
        return RATIOS.line(
            *(f"{self.goal.ours} against {other}", self.logprobs),
            *_ratio_cells(self.ratio, f"≥ {self.goal.least:.2f}x"),
            remarks=_remarks(self.reached, self.ratio),
        )

    def entry(self) -> dict[str, Any]:
        """Return the line for JSON."""
        goal = self.goal._asdict()
        least = goal.pop("least")
        found = {"logprobs": self.logprobs, "ratio": self.ratio.entry()}
        return goal | found | {"goal": least, "reached": self.reached}


class Pair(NamedTuple):
    """What one round of a scenario found: milliseconds without a circumstance, and with it."""

    without: float
    along: float
    elsewhere: float | None


@dataclass(frozen=True, slots=True)
class Scenario:
    """A time under some circumstance, beside the same without it."""

    model: str
    title: str
    most: float
    """What the ratio is to be at most."""
    rounds: list[Pair]
    """At least one."""

    @property
    def ratio(self) -> Figure:
        """Of the rounds' own ratios of the second time to the first."""
        figure = Figure.of([(pair.along / pair.without, pair.elsewhere) for pair in self.rounds])
        assert figure
        return figure

    @property
    def reached(self) -> bool:
        """True if the ratio is what it is meant to be."""
        return self.ratio.value <= self.most

    def text(self) -> str:
        """Write the line as :data:`SCENARIOS` has it."""
        counted = calm_ones(self.rounds, lambda pair: pair.elsewhere)
        return SCENARIOS.line(
            self.title,
            *(median(pair.without for pair in counted), median(pair.along for pair in counted)),
            *_ratio_cells(self.ratio, f"≤ {self.most:.2f}x"),
            remarks=_remarks(self.reached, self.ratio),
        )

    def entry(self) -> dict[str, Any]:
        """Return the line for JSON, with every round."""
        rounds = [{k: v and round(v, 3) for k, v in pair._asdict().items()} for pair in self.rounds]
        found = {"title": self.title, "ratio": self.ratio.entry(), "goal": self.most}
        return found | {"reached": self.reached, "rounds": rounds}


def _ratio_cells(ratio: Figure, goal: str) -> tuple[str | float | None, ...]:
    return f"{ratio.value:.2f}x", goal, f"{ratio.counted}/{ratio.rounds}", ratio.elsewhere


def _remarks(reached: bool, ratio: Figure) -> list[str]:
    return ["missed"] * (not reached) + ["busy"] * (not ratio.is_calm)


def ratio(ours: Row, other: Row) -> Figure | None:
    """Return how many times the other's tokens per second ours are; None if the other never had any."""
    pairs = zip(ours.turns, other.turns, strict=False)  # an interrupted round has no pair
    return Figure.of(
        [
            (mine.tokens_per_s / theirs.tokens_per_s, most([mine.elsewhere, theirs.elsewhere]))
            for mine, theirs in pairs
            if theirs.tokens_per_s
        ]
    )


def comparisons(model: str, rows: Sequence[Row]) -> Iterator[Comparison]:
    """Compare what a model's rows have of its goals, without log-probabilities and with them."""
    goals = [Goal("http", peer, "http", least) for peer, least in _PEER_GOALS.get(model, {}).items()]
    goals += [Goal(door, OURS, "python", least) for door, least in _DOOR_GOALS.items()]
    for logprobs in (None, LOGPROBS):
        sides = {
            (row.server, row.door): row
            for row in rows
            if (row.model, row.work.clients, row.work.logprobs) == (model, CLIENTS, logprobs)
        }
        for goal in goals:
            ours, other = sides.get((OURS, goal.ours)), sides.get((goal.server, goal.door))
            if ours and other and (figure := ratio(ours, other)):
                yield Comparison(goal, logprobs, figure)


@dataclass(slots=True)
class Results:
    """What was found so far."""

    rows: list[Row] = field(default_factory=list)
    scenarios: list[Scenario] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict)
    """Server -> why it could not be measured."""
    idle: dict[str, dict[str, float]] = field(default_factory=dict)
    """Model -> side -> processors that it keeps busy while nobody asks it anything."""

    def tables(self) -> Iterator[str]:
        """Write what the goals are about, and what went wrong."""
        for model in self._models():
            for table, found in (
                (RATIOS, comparisons(model, self.rows)),
                (SCENARIOS, (one for one in self.scenarios if one.model == model)),
            ):
                if lines := [one.text() for one in found]:
                    yield from (f"\n{model}\n{table.heading}", *lines)
        for row in self.rows:
            if row.first_error:
                yield f"{row.model}, {row.server}, {row.door}, {row.work.load}: {row.first_error}"

    def write(self, folder: Path, peers: dict[str, str]) -> None:
        """Write ``serving.json`` and ``serving.svg``; ``peers`` are the versions of the other servers."""
        content = {
            "machine": describe(),
            "peers": peers,
            "absent": self.absent,
            "environment": {name: os.environ[name] for name in _SPINNING if name in os.environ},
            "unit": "tokens per second; times in milliseconds; processor time in seconds",
            "models": {model: self._model(model) for model in self._models()},
        }
        write_json(folder / "serving.json", content)
        if panels := list(_panels(self.rows)):
            plot(
                folder / "serving.svg",
                panels,
                "clients, each with one request at a time",
                "tokens/s of all clients together",
            )

    def _models(self) -> Iterable[str]:
        return dict.fromkeys([row.model for row in self.rows] + [one.model for one in self.scenarios])

    def _model(self, model: str) -> dict[str, Any]:
        return {
            "goals": [found.entry() for found in comparisons(model, self.rows)],
            "rows": [row.entry() for row in self.rows if row.model == model],
            "scenarios": [found.entry() for found in self.scenarios if found.model == model],
            "idle_processors": self.idle.get(model, {}),
        }


def _panels(rows: Sequence[Row]) -> Iterator[Panel]:
    """Plot the servers' closed loops over HTTP; a panel's title tells the ratio that the goals are about."""
    shown = [row for row in rows if row.door == "http" and row.work.clients and row.work.logprobs is None]
    for model in dict.fromkeys(row.model for row in shown):
        lines: dict[str, dict[int, float]] = {"Nucleus": {}}  # ours has the first colour
        for row in sorted(
            (row for row in shown if row.model == model), key=lambda row: row.work.clients or 0
        ):
            name, found = _NAMES.get(row.server, row.server), row.throughput
            lines.setdefault(name, {})[row.work.clients or 0] = found.value if found else 0.0
        ratios = ", ".join(
            f"{one.ratio.value:.1f}x {_NAMES.get(one.goal.server, one.goal.server)}"
            for one in comparisons(model, rows)
            if one.logprobs is None and one.goal.server != OURS
        )
        title = f"{model}\n{CLIENTS} clients: {ratios}" if ratios else model
        yield Panel(title, {name: points for name, points in lines.items() if points})
