"""How many prompt tokens a step can take without making running streams wait."""

from __future__ import annotations

from collections import defaultdict, deque
from statistics import median

_URGENCY = 5
"""How strongly the share of sequences that wait for their prompts raises the budget."""
_FEWEST = 4
"""Prompt tokens that a step takes at least."""
_MEASURE_EVERY = 64
"""Steps with prompts after which one step without measures anew what decodes take alone."""
_REMEMBERED = 15
"""Steps of a kind whose median counts, so that one step that another program held up does not."""


class PrefillBudget:
    """Learns what decodes and prompt tokens cost on this machine, from the steps that were taken.

    Args:
        budget: Most tokens of a step.
    """

    def __init__(self, budget: int) -> None:
        self._budget = budget
        # Seconds of a step without a prompt, by the number of its decodes.
        self._decodes: defaultdict[int, deque[float]] = defaultdict(_recent)
        self._mixed = 0  # steps with prompts since one without
        self._steady = 0  # steps without prompts since one with
        # Seconds that a prompt token adds to a step with decodes, and takes in one without.
        self._beside, self._alone = _recent(), _recent()

    def prompt_tokens(self, decodes: int, prompts: int) -> int:
        """Return the most prompt tokens for a step; a step that measures its decodes alone takes none.

        With ``waiting = prompts - 1``::

            budget = step_time(decodes) * max(1, 5 * waiting / (waiting + decodes)) / cost_per_token

        So prompts add as much time to a step as its decodes take alone. Where more than a fifth of the other
        sequences wait for their prompts, they add up to five times as much: a decode of few sequences costs
        each of them more than a decode of many, and prompts that arrive as fast as others end would pile up.

        Args:
            decodes: Sequences that decode in the step, at least one.
            prompts: Sequences that run and wait for their prompts.
        """
        if self._must_measure(decodes):
            return 0
        step_time, costs = self._step(decodes), self._beside or self._alone
        if step_time is None or not costs:
            return min(self._budget, 4 * _FEWEST)
        waiting = max(prompts - 1, 0)
        urgency = max(1.0, _URGENCY * waiting / (waiting + decodes))
        cost_per_token = max(median(costs), 1e-9)
        return min(self._budget, max(_FEWEST, int(urgency * step_time / cost_per_token)))

    def note(self, decodes: int, prompt_tokens: int, seconds: float) -> None:
        """Learn from a step that took ``seconds`` for its decoding sequences and its prompt tokens."""
        if prompt_tokens == 0:
            self._decodes[decodes].append(seconds)
            self._mixed = 0
            self._steady += 1
            if self._steady == _REMEMBERED:  # other streams may run by now, which would pay for an old guess
                self._beside.clear()
        elif decodes == 0:
            self._alone.append(seconds / prompt_tokens)
        elif (step := self._step(decodes)) is not None:
            self._beside.append((seconds - step) / prompt_tokens)
            self._mixed += 1
            self._steady = 0

    def _must_measure(self, decodes: int) -> bool:
        """Return True if the next step should have no prompt, so that it shows what its decodes take alone.

        Under load every step has a prompt. Without such a step, what was learned earlier, of fewer decodes or
        while the machine was slower, would count for ever.
        """
        is_known = bool(self._decodes) and min(self._decodes) <= decodes <= max(self._decodes)
        return not is_known or self._mixed >= _MEASURE_EVERY

    def _step(self, decodes: int) -> float | None:
        """Return the seconds that a step of ``decodes`` takes: interpolated between the numbers seen."""
        if not self._decodes:
            return None
        below = max((seen for seen in self._decodes if seen <= decodes), default=min(self._decodes))
        above = min((seen for seen in self._decodes if seen >= decodes), default=below)
        start, end = median(self._decodes[below]), median(self._decodes[above])
        share = (decodes - below) / (above - below) if above > below else 0.0
        return start + share * (end - start)


def _recent() -> deque[float]:
    return deque(maxlen=_REMEMBERED)
