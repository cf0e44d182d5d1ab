"""Which candidates cannot be beaten in both speed and quality, and which one of them is chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from engine.tuning.candidate import Candidate, Speed

WORTHWHILE: Final = 1.03
"""How many times as fast another file or setting has to be: less is noise, or not worth a change."""


def front(candidates: Iterable[Candidate], streams: int) -> list[Candidate]:
    """Return the candidates that no other one beats in both speed and quality, the fastest first.

    Args:
        candidates: All; those that were not measured in both are on no front.
        streams: The number of streams for which speed counts.
    """
    measured = [
        (gain, candidate.quality.mean_kl, candidate)
        for candidate in candidates
        if candidate.quality is not None and (gain := candidate.gain(streams)) is not None
    ]
    measured.sort(key=lambda each: (-each[0], each[1]))
    found: list[Candidate] = []
    least = float("inf")
    for _, loss, candidate in measured:
        if loss < least:
            found.append(candidate)
            least = loss
    return found


def choose(candidates: Sequence[Candidate], streams: int, max_kl: float, *, needs_seeds: bool) -> Candidate:
    """Return the candidate that loses least of those that are about as fast as the fastest within the limit.

    Of those that lose the same, it is the one with the fastest prefill; the first, unless that is clearly
    faster, too. What was slower than the original in a quarter of the rounds is not taken for faster.

    Args:
        candidates: The original as it would be run without a profile, then the others.
        streams: The number of streams for which speed counts.
        max_kl: Most mean divergence, in nats.
        needs_seeds: Whether a seed has to repeat beside other requests, as it does with the original.
    """
    original = candidates[0]
    allowed = [
        (candidate.quality.mean_kl, candidate.speed, candidate)
        for candidate in candidates
        if candidate.quality is not None
        and candidate.quality.mean_kl <= max_kl
        and (candidate.repeats_seeds or not needs_seeds)
        and candidate.speed is not None
        and max(candidate.speed.surely[streams], candidate.speed.surely_prefill) >= 1.0
    ]
    fastest = max((speed.decode_gain[streams] for _, speed, _ in allowed), default=0.0)
    about_as_fast = [each for each in allowed if each[1].decode_gain[streams] * WORTHWHILE >= fastest]

    def order(each: tuple[float, Speed, Candidate]) -> tuple[float, float, float]:
        loss, speed, candidate = each
        bonus = WORTHWHILE if candidate is original else 1.0
        return loss, -bonus * speed.prefill_gain, -speed.decode_gain[streams]

    return min(about_as_fast, key=order)[2] if about_as_fast else original
