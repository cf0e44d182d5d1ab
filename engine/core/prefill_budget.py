"""How many prompt tokens a step can take without making running streams wait."""

from __future__ import annotations

from collections import defaultdict, deque
from statistics import median

_PATIENCE = 1.0
"""What one prompt's tokens may add to the time of a step, as a part of what its decodes take alone."""
_URGENCY = 5
"""One sequence that waits for its prompt is no reason to hurry; with every so many-th besides, a step takes
as much longer for prompts as its decodes take."""
_FEWEST = 4
_MIXED = 64
"""Steps with prompts after which one without tells anew what decodes take alone."""
_REMEMBERED = 15
"""Steps of a kind whose median counts: one that was held up by another program does not."""


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
        """Return the most prompt tokens for a step; 0 where it had better tell what its decodes take alone.

        Under load there is a prompt in every step. What was learned of decodes before, of fewer of them or
        on a machine that was slower, would count forever, and so would a chunk that is too small by it.

        The more sequences wait for their prompts, the longer those that decode have to wait: a decode of few
        costs each of them more than one of many does, and prompts that come as fast as others end would
        otherwise pile up, until most of those that run wait for theirs.

        Args:
            decodes: Sequences that decode in the step, at least one.
            prompts: Sequences that run and wait for their prompts.
        """
        if not self._knows(decodes) or self._mixed >= _MIXED:
            return 0
        step, costs = self._step(decodes), self._beside or self._alone
        if step is None or not costs:
            return min(self._budget, 4 * _FEWEST)
        others = max(prompts - 1, 0)
        patience = _PATIENCE * max(1.0, _URGENCY * others / (others + decodes))
        return min(self._budget, max(_FEWEST, int(patience * step / max(median(costs), 1e-9))))

    def note(self, decodes: int, prompt_tokens: int, seconds: float) -> None:
        """Learn from a step of so many decoding sequences and prompt tokens."""
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

    def _knows(self, decodes: int) -> bool:
        """Tell whether so many decodes, or both more and fewer, were seen without a prompt."""
        return bool(self._decodes) and min(self._decodes) <= decodes <= max(self._decodes)

    def _step(self, decodes: int) -> float | None:
        """Return the seconds of so many decodes: interpolated, or of the nearest number that was seen."""
        if not self._decodes:
            return None
        below = max((seen for seen in self._decodes if seen <= decodes), default=min(self._decodes))
        above = min((seen for seen in self._decodes if seen >= decodes), default=below)
        start, end = median(self._decodes[below]), median(self._decodes[above])
        share = (decodes - below) / (above - below) if above > below else 0.0
        return start + share * (end - start)


def _recent() -> deque[float]:
    return deque(maxlen=_REMEMBERED)
