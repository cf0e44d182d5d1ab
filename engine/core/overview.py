"""Who has which slot at one moment, and which cells of the KV cache they share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from engine.core.phases import Phase
    from engine.core.scheduler import Scheduler
    from engine.core.sequence import Sequence


class TokenRun(NamedTuple):
    """Tokens that follow each other in the KV cache; slots that share them name the same part."""

    part: int
    tokens: int


@dataclass(frozen=True, slots=True)
class SlotView:
    """A running sequence, in numbers."""

    slot: int
    phase: Phase
    prompt_tokens: int
    generated_tokens: int
    max_tokens: int
    preempted: int
    """How often it has lost its slot."""
    runs: tuple[TokenRun, ...]
    """What the KV cache holds of it, from its first token on."""


@dataclass(frozen=True, slots=True)
class Overview:
    """The slots in use, in their order, and the cells of the KV cache."""

    slots: tuple[SlotView, ...]
    waiting: int
    used_cells: int
    deferred_cells: int
    """Cells of these that nobody uses, and that are freed later."""
    saved_prefixes: int


def overview(scheduler: Scheduler) -> Overview:
    """Look at a scheduler between two steps."""
    slots, parts = scheduler.slots, dict[int, int]()

    def view(sequence: Sequence) -> SlotView:
        held = slots.runs(sequence.slot)
        runs = (TokenRun(parts.setdefault(run, len(parts)), tokens) for run, tokens in held)
        return SlotView(
            slot=sequence.slot,
            phase=sequence.phase,
            prompt_tokens=len(sequence.prompt.tokens),
            generated_tokens=len(sequence.generated),
            max_tokens=sequence.max_tokens,
            preempted=sequence.n_preempted,
            runs=tuple(runs),
        )

    return Overview(
        slots=tuple(map(view, sorted(scheduler.running(), key=lambda sequence: sequence.slot))),
        waiting=scheduler.n_waiting,
        used_cells=slots.used_cells,
        deferred_cells=slots.n_deferred,
        saved_prefixes=slots.n_saved,
    )
