"""What was found with each model: rows, and ratios with goals; as lines of tables, a JSON file and a plot."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.machine import Figure, calm_ones, describe, most
from benchmarks.report import Cell, Panel, Table, plot, write_json
from benchmarks.servers import LLAMA_CPP_PYTHON, OURS, XLLAMACPP, peer_versions

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from benchmarks.servers import Door
    from benchmarks.serving.turn import Turn, Work

CLIENTS = 8  # of the closed loop that the goals are about
LOGPROBS = 5  # of its requests in half of the turns; the others ask for none
ROWS = Table(
    {"server": "<18", "door": "<7", "load": ">13", "logprobs": ">9d", "tokens/s": ">9.1f"}
    | {"TTFT p50": ">9.0f", "p95": ">8.0f", "p99": ">8.0f"}
    | {"ITL p50": ">9.0f", " p95": ">8.0f", " p99": ">8.0f"}
    | {"client": ">8.2f", "rounds": ">7", "elsewhere": ">10.2f", "cut": ">5d", "errors": ">7d"}
)
"""Times are milliseconds; ``client`` is its seconds of processor time. Of the rounds those that count."""
_RATIO = {"ratio": ">9", "goal": ">9", "rounds": ">7", "elsewhere": ">10.2f"}
GOALS = Table(
    {f"tokens/s, {CLIENTS} clients": "<40", "logprobs": ">9d", "other": ">9.1f", "ours": ">9.1f"} | _RATIO
)
SCENARIOS = Table({"scenario, ms": "<72", "without": ">9.1f", "with": ">9.1f"} | _RATIO)
_NAMES = {OURS: "Nucleus", XLLAMACPP: "llama.cpp's server"}  # in the plot
_SPINNING = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")  # what was set for all servers alike


class Goal(NamedTuple):
    """A door of ours, what it is compared with, and the least ratio of our tokens per second to its."""

    ours: Door
    server: str
    door: Door
    goal: float


_DOOR_GOALS = (Goal("http", OURS, "python", 0.93), Goal("grpc", OURS, "python", 0.95))
_PEER_GOALS = {
    "smollm2-135m-instruct": (
        Goal("http", XLLAMACPP, "http", 1.25),
        Goal("http", LLAMA_CPP_PYTHON, "http", 2.5),
    ),
    "gemma-3-270m": (Goal("http", XLLAMACPP, "http", 2.0), Goal("http", LLAMA_CPP_PYTHON, "http", 4.0)),
}
"""Model -> what else is compared."""


@dataclass(frozen=True, slots=True)
class Row:
    """A side under some load. Every figure is the median of the calm rounds, or of all if none was calm."""

    server: str
    door: Door
    work: Work
    turns: list[Turn]
    """One for each round, and at least one."""

    @property
    def throughput(self) -> Figure:
        """Tokens that came in a second."""
        figure = Figure.of([(turn.tokens_per_s, turn.elsewhere) for turn in self.turns])
        assert figure
        return figure

    @property
    def requests_per_s(self) -> float:
        """Requests that were answered in a second."""
        each = [turn.tokens_per_request for turn in self._counted if turn.requests]
        return self.throughput.value / median(each) if each else 0.0

    def text(self) -> str:
        """Write the row as :data:`ROWS` has it; the remarks have the first error."""
        found, nothing = self.throughput, dict.fromkeys(("p50", "p95", "p99"))
        errors = [turn.first_error for turn in self.turns if turn.first_error]
        return ROWS.line(
            *(self.server, self.door, self.work.load, self.work.logprobs, found.value),
            *(self._times("first_token") or nothing).values(),
            *(self._times("between_tokens") or nothing).values(),
            median(turn.client_cpu_s for turn in self._counted),
            *(f"{found.counted}/{found.rounds}", found.elsewhere),
            *(sum(turn.cut for turn in self.turns), sum(turn.errors for turn in self.turns)),
            remarks=["busy"] * (not found.is_calm) + errors[:1],
        )

    def entry(self) -> dict[str, Any]:
        """Return the row for JSON, with every round."""
        return {
            "server": self.server,
            "door": self.door,
            **asdict(self.work),
            "tokens_per_s": self.throughput.entry(),
            "first_token": self._times("first_token"),
            "between_tokens": self._times("between_tokens"),
            "rounds": [asdict(turn) for turn in self.turns],
        }

    @property
    def _counted(self) -> list[Turn]:
        return calm_ones(self.turns, lambda turn: turn.elsewhere)

    def _times(self, name: str) -> dict[str, float] | None:
        """Return the median of each percentile over the rounds that have them; None if none has."""
        found = [times for turn in self._counted if (times := getattr(turn, name))]
        return {key: median(times[key] for times in found) for key in found[0]} if found else None


class Pair(NamedTuple):
    """What one round found without something, and along with it."""

    without: float
    along: float
    elsewhere: float | None


@dataclass(frozen=True, slots=True)
class Ratio:
    """The median of the rounds' own ratios, of the calm ones if there are any, beside a goal."""

    pairs: list[Pair]
    """One for each round, and at least one."""
    goal: float
    is_least: bool = False
    """Whether the ratio is to be the goal at least, and not at most."""

    @property
    def figure(self) -> Figure:
        """The second of each pair over the first."""
        figure = Figure.of([(pair.along / pair.without, pair.elsewhere) for pair in self.pairs])
        assert figure
        return figure

    def text(self, table: Table, *cells: Cell) -> str:
        """Write a line of a table that begins with these cells."""
        without, along, _ = zip(*calm_ones(self.pairs, lambda pair: pair.elsewhere), strict=True)
        figure, sign = self.figure, "≥" if self.is_least else "≤"
        return table.line(
            *(*cells, median(without), median(along)),
            *(f"{figure.value:.2f}x", f"{sign} {self.goal:.2f}x"),
            *(f"{figure.counted}/{figure.rounds}", figure.elsewhere),
            remarks=["missed"] * (not self.entry()["reached"]) + ["busy"] * (not figure.is_calm),
        )

    def entry(self) -> dict[str, Any]:
        """Return the ratio for JSON, with every round."""
        value, rounds = self.figure.value, [pair._asdict() for pair in self.pairs]
        reached = value >= self.goal if self.is_least else value <= self.goal
        return {"ratio": self.figure.entry(), "goal": self.goal, "reached": reached, "rounds": rounds}


@dataclass(slots=True)
class ModelResults:
    """What was found with one model so far."""

    model: str
    rows: list[Row] = field(default_factory=list)
    scenarios: dict[str, Ratio] = field(default_factory=dict)
    """Title -> times in milliseconds."""

    def goals(self) -> Iterator[tuple[Goal, int | None, Ratio]]:
        """Yield what was compared, without log-probabilities and with them, where the other had tokens."""
        loops = [row for row in self.rows if row.work.clients == CLIENTS]
        turns = {(row.server, row.door, row.work.logprobs): row.turns for row in loops}
        for logprobs in (None, LOGPROBS):
            for goal in (*_PEER_GOALS.get(self.model, ()), *_DOOR_GOALS):
                ours = turns.get((OURS, goal.ours, logprobs), [])
                others = turns.get((goal.server, goal.door, logprobs), [])
                pairs = [
                    Pair(other.tokens_per_s, our.tokens_per_s, most([our.elsewhere, other.elsewhere]))
                    for our, other in zip(ours, others, strict=False)  # an interrupted round has no pair
                    if other.tokens_per_s
                ]
                if pairs:
                    yield goal, logprobs, Ratio(pairs, goal.goal, is_least=True)

    def entry(self) -> dict[str, Any]:
        """Return it for JSON."""
        goals = [
            {**goal._asdict(), "logprobs": logprobs, **ratio.entry()}
            for goal, logprobs, ratio in self.goals()
        ]
        scenarios = [{"title": title, **ratio.entry()} for title, ratio in self.scenarios.items()]
        return {"goals": goals, "rows": [row.entry() for row in self.rows], "scenarios": scenarios}

    def panel(self) -> Panel:
        """Return the closed loops over HTTP for a plot, and the ratios to the other servers in its title."""
        lines: dict[str, dict[int, float]] = {}
        for row in sorted(self.rows, key=lambda row: row.work.clients or 0):
            if row.work.clients and row.work.logprobs is None and row.door == "http":
                points = lines.setdefault(_NAMES.get(row.server, row.server), {})
                points[row.work.clients] = row.throughput.value
        ratios = ", ".join(
            f"{ratio.figure.value:.1f}x {_NAMES.get(goal.server, goal.server)}"
            for goal, logprobs, ratio in self.goals()
            if logprobs is None and goal.server != OURS
        )
        return Panel(f"{self.model}\n{CLIENTS} clients: {ratios}" if ratios else self.model, lines)


def write(folder: Path, found: Sequence[ModelResults]) -> None:
    """Write ``serving.json``, with numbers to three decimals, and ``serving.svg``."""
    content = {
        "machine": describe(),
        "peers": peer_versions(),
        "environment": {name: os.environ[name] for name in _SPINNING if name in os.environ},
        "unit": "tokens per second; times in milliseconds; processor time in seconds",
        "models": {each.model: each.entry() for each in found},
    }
    rounded = json.loads(json.dumps(content), parse_float=lambda text: round(float(text), 3))
    write_json(folder / "serving.json", rounded)
    panels = [panel for panel in (each.panel() for each in found) if panel.lines]
    if panels:
        x_label, y_label = "clients, each with one request at a time", "tokens/s of all clients together"
        plot(folder / "serving.svg", panels, x_label, y_label)
