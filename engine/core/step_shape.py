"""How wide a step is: what has room beside its decodes, and what is decoded for nobody."""

from __future__ import annotations

import heapq
from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING, Final

from engine.backend.invariance import Padding
from engine.core.attention_cost import Depth
from engine.core.prefill_budget import prefill_budget

if TYPE_CHECKING:
    from collections.abc import Iterator

    from engine.backend.invariance import BatchInvariance
    from engine.core.plan import Plan
    from engine.core.sequence import Sequence
    from engine.core.step_cost import StepCost

_WORTH: Final = 0.97
"""Guesses are computed if a token then costs at most this part of what it costs without."""
_HOPELESS: Final = 0.05
"""A guess with a smaller chance is not thought about."""


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

    def room(self, plan: Plan) -> int:
        """Return how many tokens a step may have beside its decodes."""
        n_decodes = len(plan.decodes)
        return self.most_tokens(n_decodes, batch_invariant=plan.batch_invariant) - n_decodes

    def prompt_tokens(self, prompts: list[Sequence], n_prompts: int, n_taken: int, plan: Plan) -> int:
        """Return how many tokens of prompts fit beside the decodes.

        Args:
            prompts: The sequences that compute their prompts.
            n_prompts: How many there are, with those that wait for a sibling.
            n_taken: Tokens that the step has already: decodes, and what forms have forced.
            plan: The step.
        """
        room = max(self.room(plan) + len(plan.decodes) - n_taken, 0)
        if self._cost is None or n_taken == 0:
            return room
        depth = Depth(_mean_length(plan.decodes), _mean_length(prompts))
        n_decodes = min(n_taken, self._cost.max_decodes)
        return min(room, prefill_budget(self._cost, n_decodes, n_prompts, depth))

    def drafts(self, plan: Plan, room: int, reach: int) -> list[tuple[Sequence, list[int]]]:
        """Return guesses at the next tokens of decodes, as many as make a token cheapest.

        The chance that the ``i``-th guess for a sequence counts is ``chance ** i``, so ``e`` guesses beside
        ``d`` decodes give ``d + sum(chances)`` tokens for ``seconds(d + e)``.

        Args:
            plan: The step, which has decodes only.
            room: Tokens for which there is room beside them.
            reach: As in :meth:`padding`.
        """
        cost, n_decodes = self._cost, len(plan.decodes)
        if cost is None or not n_decodes:
            return []
        most = self.most_tokens(n_decodes, batch_invariant=plan.batch_invariant)
        room = min(room, most - n_decodes, cost.max_decodes - n_decodes)
        chances = heapq.merge(*(_chances(sequence, room) for sequence in plan.decodes), reverse=True)
        expected, depth = float(n_decodes), Depth(_mean_length(plan.decodes))
        best, cheapest = 0, _WORTH * self._seconds(cost, plan, depth, reach) / expected
        counted: list[Sequence] = []
        for count, (chance, _, sequence) in enumerate(islice(chances, room), start=1):
            counted.append(sequence)
            expected += chance
            if (price := self._seconds(cost, plan, depth, reach, guesses=count) / expected) < cheapest:
                best, cheapest = count, price
        lengths = Counter(counted[:best])
        return [(sequence, sequence.drafter.draft(length)) for sequence, length in lengths.items()]

    def _seconds(self, cost: StepCost, plan: Plan, depth: Depth, reach: int, *, guesses: int = 0) -> float:
        """Return what a step of decodes with so many guesses takes, once it is padded."""
        n_rows = len(plan.decodes) + guesses
        width = cost.widths[n_rows]
        if plan.batch_invariant:
            width = min(self._invariance.width(width, reach), cost.max_decodes)
        return cost.seconds(n_rows, padding=width - n_rows, depth=depth, guesses=guesses)

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


def _mean_length(sequences: list[Sequence]) -> float:
    """Return how many tokens of each are computed, on average."""
    return sum(sequence.computed for sequence in sequences) / max(len(sequences), 1)


def _chances(sequence: Sequence, most: int) -> Iterator[tuple[float, int, Sequence]]:
    """Yield how probable it is that so many guesses for a sequence are right, 1, 2, …, with who it is."""
    if sequence.matcher is not None:  # a guess may not fit the form
        return
    chance, drafter = 1.0, sequence.drafter
    if drafter.has_guess:
        for _ in range(min(most, sequence.max_tokens - len(sequence.generated) - 1)):
            chance *= drafter.chance
            if chance < _HOPELESS:
                return
            yield chance, -sequence.turn, sequence
