"""What was found with each model: rows, and ratios with goals; as lines of tables, a JSON file and a plot."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from itertools import product
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.machine import Figure, calm_ones, describe, most
from benchmarks.report import Panel, Table, plot, write_json
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
RATIOS = Table(
    {f"tokens/s of {CLIENTS} clients, and scenarios in ms": "<72", "logprobs": ">9d"}
    | {"without": ">9.1f", "with": ">9.1f", "ratio": ">9", "goal": ">9"}
    | {"rounds": ">7", "elsewhere": ">10.2f"}
)
_GOALS: tuple[tuple[str | None, Door, str, Door, float], ...] = (
    ("smollm2-135m-instruct", "http", XLLAMACPP, "http", 1.25),
    ("smollm2-135m-instruct", "http", LLAMA_CPP_PYTHON, "http", 2.5),
    ("gemma-3-270m", "http", XLLAMACPP, "http", 2.0),
    ("gemma-3-270m", "http", LLAMA_CPP_PYTHON, "http", 4.0),
    (None, "http", OURS, "python", 0.93),
    (None, "grpc", OURS, "python", 0.95),
)
"""A model or None for all, our door, another side, and the least ratio of our tokens per second to its."""
_NAMES = {OURS: "Nucleus", XLLAMACPP: "llama.cpp's server", LLAMA_CPP_PYTHON: LLAMA_CPP_PYTHON}
_SPINNING = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")  # what was set for all servers alike


@dataclass(frozen=True, slots=True)
class Row:
    """A side under some load. Every figure is the median of the calm rounds, or of all if none was calm."""

    server: str
    door: Door
    work: Work
    turns: list[Turn]  # one for each round, and at least one

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
        work = self.work
        load = f"{work.clients}" if work.requests_per_s is None else f"{work.requests_per_s:.2f} req/s"
        found, nothing = self.throughput, dict.fromkeys(("p50", "p95", "p99"))
        errors = [turn.first_error for turn in self.turns if turn.first_error]
        return ROWS.line(
            *(self.server, self.door, load, work.logprobs, found.value),
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
            "tokens_per_s": asdict(self.throughput),
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


@dataclass(frozen=True, slots=True)
class Pair:
    """What one round found without something, and along with it."""

    without: float
    along: float
    elsewhere: float | None


@dataclass(slots=True)
class Ratio:
    """The median of the rounds' own ratios, of the calm ones if there are any, beside a goal."""

    title: str
    rounds: list[Pair]  # at least one
    goal: float
    is_least: bool = False  # whether the ratio is to be the goal at least, and not at most
    logprobs: int | None = None
    ratio: Figure = field(init=False)
    reached: bool = field(init=False)

    def __post_init__(self) -> None:
        figure = Figure.of([(pair.along / pair.without, pair.elsewhere) for pair in self.rounds])
        assert figure
        self.ratio = figure
        self.reached = figure.value >= self.goal if self.is_least else figure.value <= self.goal

    def text(self) -> str:
        """Write the ratio as :data:`RATIOS` has it."""
        counted = calm_ones(self.rounds, lambda pair: pair.elsewhere)
        without, along = median(pair.without for pair in counted), median(pair.along for pair in counted)
        found, sign = self.ratio, "≥" if self.is_least else "≤"
        return RATIOS.line(
            *(self.title, self.logprobs, without, along),
            *(f"{found.value:.2f}x", f"{sign} {self.goal:.2f}x", f"{found.counted}/{found.rounds}"),
            found.elsewhere,
            remarks=["missed"] * (not self.reached) + ["busy"] * (not found.is_calm),
        )


@dataclass(slots=True)
class ModelResults:
    """What was found with one model so far."""

    model: str
    rows: list[Row] = field(default_factory=list)
    scenarios: list[Ratio] = field(default_factory=list)

    def goals(self) -> Iterator[Ratio]:
        """Compare tokens per second, without log-probabilities and with them, where the other had any."""
        loops = [row for row in self.rows if row.work.clients == CLIENTS]
        turns = {(row.server, row.door, row.work.logprobs): row.turns for row in loops}
        for logprobs, (model, our_door, server, door, least) in product((None, LOGPROBS), _GOALS):
            ours, others = turns.get((OURS, our_door, logprobs)), turns.get((server, door, logprobs))
            if model not in (None, self.model) or not ours or not others:
                continue
            pairs = [
                Pair(other.tokens_per_s, our.tokens_per_s, most([our.elsewhere, other.elsewhere]))
                for our, other in zip(ours, others, strict=False)  # an interrupted round has no pair
                if other.tokens_per_s
            ]
            if pairs:
                title = f"{our_door} against {'the engine in process' if server == OURS else server}"
                yield Ratio(title, pairs, least, is_least=True, logprobs=logprobs)

    def entry(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "goals": [asdict(goal) for goal in self.goals()],
            "rows": [row.entry() for row in self.rows],
            "scenarios": [asdict(scenario) for scenario in self.scenarios],
        }

    def panel(self) -> Panel:
        """Return the closed loops over HTTP for a plot, and the ratios to the other servers in its title."""
        lines: dict[str, dict[int, float]] = {}
        for row in sorted(self.rows, key=lambda row: row.work.clients or 0):
            if row.work.clients and row.work.logprobs is None and row.door == "http":
                points = lines.setdefault(_NAMES[row.server], {})
                points[row.work.clients] = row.throughput.value
        ratios = {ratio.title: ratio.ratio.value for ratio in self.goals() if ratio.logprobs is None}
        titles = {name: f"http against {server}" for server, name in _NAMES.items()}
        beside = ", ".join(
            f"{ratios[title]:.1f}x {name}" for name, title in titles.items() if title in ratios
        )
        return Panel(f"{self.model}\n{CLIENTS} clients: {beside}" if beside else self.model, lines)


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
