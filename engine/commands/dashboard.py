"""What a running server is doing, drawn in a terminal."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from rich.console import Group
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import RenderableType

    from engine.contract.state import ServerState, SlotState

_COLOURS: Final = ("blue", "green", "yellow", "magenta", "cyan", "red")
_BAR: Final = 24
"""Columns of a slot's bar."""
_REMEMBERED: Final = 5
"""Moments over which a rate is taken."""


class _Moment(NamedTuple):
    seconds: float
    totals: Mapping[str, int]


class Dashboard:
    """Draws one state after the other; rates come from the last few."""

    def __init__(self) -> None:
        self._moments: deque[_Moment] = deque(maxlen=_REMEMBERED)

    def draw(self, state: ServerState) -> RenderableType:
        """Return what is to be shown of a state, which is newer than those before."""
        self._moments.append(_Moment(state.uptime_seconds, state.totals))
        return Group(self._figures(state), *map(_slot, state.slots), _cost(state))

    def _figures(self, state: ServerState) -> Table:
        kv, totals, rate = state.kv, state.totals, self._rate
        table = Table.grid(padding=(0, 2))
        figures = {
            "model": f"{state.model}, up {_duration(state.uptime_seconds)}",
            "choices": f"{len(state.slots)} of {state.n_slots} run, {state.waiting} wait",
            "tokens/s": f"{rate('completion_tokens'):.1f}, {rate('prompt_tokens'):.1f} of prompts",
            "KV cache": f"{kv.used} of {kv.cells} cells, {kv.saved_prefixes} prefixes saved",
            "cached": _share(totals, "cached_tokens", "prompt_tokens", "of prompt tokens"),
            "guessed": _share(totals, "accepted_tokens", "drafted_tokens", "right"),
            "requests": f"{totals['requests']} ended",
        }
        for name, value in figures.items():
            table.add_row(Text(name, style="dim"), value)
        return table

    def _rate(self, name: str) -> float:
        first, last = self._moments[0], self._moments[-1]
        return (last.totals[name] - first.totals[name]) / max(last.seconds - first.seconds, 1e-9)


def _slot(slot: SlotState) -> Text:
    """Return a line: parts of one colour are the same cells."""
    held = sum(run.tokens for run in slot.runs)
    line = Text(f"{slot.slot:>3} ")
    for run in slot.runs:
        width = max(1, round(_BAR * run.tokens / max(held, 1)))
        line.append("█" * width, style=_COLOURS[run.part % len(_COLOURS)])
    line.pad_right(max(0, _BAR + 4 - len(line)))
    line.append(f" {slot.phase:<7} {held} cached, {slot.generated_tokens}/{slot.max_tokens}")
    return line


def _cost(state: ServerState) -> Text:
    points = [f"{width}: {ms:.1f}" for width, ms in state.step_ms.items() if _is_power_of_two(int(width))]
    return Text(f"ms of a step, by tokens decoded: {', '.join(points)}", style="dim")


def _is_power_of_two(number: int) -> bool:
    return number & (number - 1) == 0


def _share(totals: Mapping[str, int], part: str, whole: str, what: str) -> str:
    return f"{totals[part] / totals[whole]:.0%} {what}" if totals[whole] else "nothing yet"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
