"""What a step decodes for nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.backend.invariance import NO_PADDING, Padding

if TYPE_CHECKING:
    from engine.backend.invariance import BatchInvariance
    from engine.core.plan import Plan
    from engine.core.step_cost import StepCost


def padding_for(
    plan: Plan, cost: StepCost | None, invariance: BatchInvariance, *, most_tokens: int, reach: int
) -> Padding:
    """Return what makes the decodes of a step cheaper, and what makes the step batch-invariant.

    Args:
        plan: The step, with its decodes and prompts.
        cost: What steps cost; None: no step is padded to be cheaper.
        invariance: How a step is made batch-invariant, if it is to be so.
        most_tokens: Most tokens of the step, but for those that make it batch-invariant.
        reach: The cells in use are all among this many at the beginning of the cache.
    """
    extra = cost.padding(len(plan.decodes)) if cost and plan.decodes and not plan.prompts else 0
    tokens, rows = plan.n_tokens, plan.n_rows
    if tokens + extra > most_tokens:
        extra = 0
    more = invariance.padding(tokens + extra, rows + extra, reach) if plan.batch_invariant else NO_PADDING
    return Padding(extra + more.tokens, extra + more.rows)
