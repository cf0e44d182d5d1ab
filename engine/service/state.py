"""An overview of the engine in the words of the contract."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from engine.contract.state import KvState, RunState, ServerState, SlotState

if TYPE_CHECKING:
    from engine.core.overview import Overview, SlotView
    from engine.service.snapshot import ServiceSnapshot

_SAME: Final = (
    "prompt_tokens",
    "cached_tokens",
    "completion_tokens",
    "steps",
    "drafted_tokens",
    "accepted_tokens",
    "forced_tokens",
)
TOTALS: Final = ("requests", *_SAME)
"""The totals that are told; they grow from 0."""


def state_of(overview: Overview, now: ServiceSnapshot, *, uptime_seconds: float) -> ServerState:
    """Return what a server tells of itself.

    Args:
        overview: The slots.
        now: The totals, and what does not change.
        uptime_seconds: Since the model was loaded.
    """
    return ServerState(
        model=now.model,
        uptime_seconds=uptime_seconds,
        n_slots=now.slots,
        slots=[_slot(view) for view in overview.slots],
        waiting=overview.waiting,
        kv=KvState(
            cells=now.kv_cells,
            used=overview.used_cells,
            deferred=overview.deferred_cells,
            saved_prefixes=overview.saved_prefixes,
        ),
        totals={"requests": sum(now.outcomes.values()), **{name: getattr(now, name) for name in _SAME}},
        step_ms={str(width): 1e3 * seconds for width, seconds in now.step_costs.items()},
    )


def _slot(view: SlotView) -> SlotState:
    return SlotState(
        slot=view.slot,
        phase=view.phase.name.lower(),
        prompt_tokens=view.prompt_tokens,
        generated_tokens=view.generated_tokens,
        max_tokens=view.max_tokens,
        preempted=view.preempted,
        runs=[RunState(part=run.part, tokens=run.tokens) for run in view.runs],
    )
