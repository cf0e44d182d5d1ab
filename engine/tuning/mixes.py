"""Files whose tensors have different types by what they are for: fast where that costs little."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class Sides(NamedTuple):
    """The two files that a mix is made of: a precise one within the limit, and a fast one beyond it."""

    precise_gain: float
    """Tokens per second of the precise one, in those of the original."""
    fast_gain: float
    precise_loss: float
    """Its mean divergence in nats."""


class Mix(NamedTuple):
    """Roles that get the fast type, and what that should give."""

    roles: frozenset[str]
    gain: float
    loss: float


def best_mix(
    sides: Sides, shares: Mapping[str, float], losses: Mapping[str, float], max_kl: float
) -> Mix | None:
    """Return the fastest mix that should stay within the limit; None if there is none.

    Time is taken to be a sum over the weights, and loss a sum over the roles. What is common to the losses of
    all files is not counted again: some divergence comes from rounding that is merely different.

    Args:
        sides: The two files.
        shares: The share of the weights that each role has.
        losses: For each role that may be fast, the mean divergence where it alone is.
        max_kl: Most mean divergence, in nats.
    """
    common = min([sides.precise_loss, *losses.values()])
    saved = 1 / sides.precise_gain - 1 / sides.fast_gain
    mixes = []
    for roles in _subsets(losses):
        loss = sides.precise_loss + sum(losses[role] - common for role in roles)
        time = 1 / sides.precise_gain - saved * sum(shares[role] for role in roles)
        if loss <= max_kl:
            mixes.append(Mix(roles, 1 / time, loss))
    return max(mixes, key=lambda mix: mix.gain, default=None)


def _subsets(roles: Mapping[str, float]) -> Iterator[frozenset[str]]:
    for count in range(1, len(roles) + 1):
        yield from map(frozenset, combinations(roles, count))
