"""How many prompt tokens a step can take without making running streams wait."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.core.attention_cost import Depth

if TYPE_CHECKING:
    from engine.core.step_cost import StepCost

_URGENCY = 5
"""How strongly the share of sequences that wait for their prompts raises the budget."""
_FEWEST = 4
"""Prompt tokens that a step takes at least."""
_NO_DEPTH = Depth()


def prefill_budget(cost: StepCost, decodes: int, prompts: int, depth: Depth = _NO_DEPTH) -> int:
    """Return the most prompt tokens for a step.

    With ``waiting = prompts - 1``, prompts may add this many times what the decodes take alone::

        share = max(1, 5 * waiting / (waiting + decodes))

    So prompts add as much time to a step as its decodes take alone. Where more than a fifth of the other
    sequences wait for their prompts, they add up to five times as much: a decode of few sequences costs
    each of them more than a decode of many, and prompts that arrive as fast as others end would pile up.

    Args:
        cost: What steps cost.
        decodes: Sequences that decode in the step, at least one.
        prompts: Sequences that run and wait for their prompts.
        depth: How many tokens lie before the decodes, and before what is next of the prompts.

    >>> prefill_budget(StepCost.uniform(8, 512), decodes=8, prompts=1)
    8
    """
    waiting = max(prompts - 1, 0)
    share = max(1.0, _URGENCY * waiting / (waiting + decodes))
    return max(_FEWEST, cost.prompt_tokens(decodes, share, depth))
