"""How wide a step is: what has room beside its decodes, and what is decoded for nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.backend.invariance import Padding
from engine.core.prefill_budget import prefill_budget

if TYPE_CHECKING:
    from engine.backend.invariance import BatchInvariance
    from engine.core.plan import Plan
    from engine.core.step_cost import StepCost


class StepShape:
    """Chooses the width of steps.

    Args:
        budget: Most tokens of a step.
        cost: What steps cost. None: a step takes as many prompt tokens as it has room for, and no padding.
        invariance: How a step is made batch-invariant.
    """

    def __init__(self, budget: int, cost: StepCost | None, invariance: BatchInvariance) -> None:
        self._budget = budget
        self._cost = cost
        self._invariance = invariance

    @property
    def can_be_batch_invariant(self) -> bool:
        """Whether any step can."""
        return self._invariance.widest > 0

    def most_tokens(self, n_decodes: int, *, batch_invariant: bool) -> int:
        """Return how many tokens a step with so many decodes may have, padding apart.

        With too many decodes to be batch-invariant it is not, and takes prompt tokens all the same.
        """
        most = self._invariance.max_tokens
        return min(self._budget, most) if batch_invariant and n_decodes < most else self._budget

    def prompt_tokens(self, n_decodes: int, n_prompts: int, *, batch_invariant: bool) -> int:
        """Return how many tokens of so many prompts fit beside the decodes."""
        room = self.most_tokens(n_decodes, batch_invariant=batch_invariant) - n_decodes
        if self._cost is None or n_decodes == 0:
            return room
        return min(room, prefill_budget(self._cost, n_decodes, n_prompts))

    def padding(self, plan: Plan, reach: int) -> Padding:
        """Return what makes the decodes of a step cheaper, and what makes the step batch-invariant.

        Args:
            plan: The step, with its decodes and prompts.
            reach: The cells in use are all among this many at the beginning of the cache.
        """
        tokens, rows = plan.n_tokens, plan.n_rows
        extra = self._cost.padding(tokens) if self._cost and tokens and not plan.prompts else 0
        if tokens + extra > self.most_tokens(len(plan.decodes), batch_invariant=plan.batch_invariant):
            extra = 0
        if not plan.batch_invariant:
            return Padding(extra, extra)
        more = self._invariance.padding(tokens + extra, rows + extra, reach)
        return Padding(extra + more.tokens, extra + more.rows)
