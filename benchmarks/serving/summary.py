"""Percentiles, and the one line that a run of many requests comes down to."""

from __future__ import annotations

from dataclasses import dataclass
from math import floor
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.serving.reply import UNFINISHED

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchmarks.serving.reply import Answer


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that ``share`` of the values do not exceed, between two of them by interpolation.

    Args:
        values: At least one, in any order.
        share: From 0 to 1.

    Raises:
        ValueError: there are no values, or ``share`` is out of range.
    """
    if not values or not 0 <= share <= 1:
        raise ValueError(f"no percentile {share} of {len(values)} values")
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


class Percentiles(NamedTuple):
    """Of some times, in milliseconds."""

    p50: float
    p95: float
    p99: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Percentiles | None:
        """Return the percentiles of times in seconds; None if there are none."""
        if not seconds:
            return None
        return cls(*(round(percentile(seconds, share) * 1e3, 3) for share in (0.5, 0.95, 0.99)))

    @classmethod
    def median(cls, rounds: Iterable[Percentiles | None]) -> Percentiles | None:
        """Return the median of each over the rounds that have them; None if none has."""
        found = [one for one in rounds if one is not None]
        return cls(*map(median, zip(*found, strict=True))) if found else None


@dataclass(frozen=True, slots=True)
class Summary:
    """What the requests of one run came to."""

    requests: int
    """Requests that were answered to the end."""
    tokens_per_request: float
    """Mean tokens of those."""
    tokens_per_s: float
    """Tokens that came while they counted, a second."""
    first_token: Percentiles | None
    """Milliseconds from sending a request until its first token, of those that came while tokens counted."""
    between_tokens: Percentiles | None
    """Milliseconds from one piece of text to the next of the same answer."""
    cut: int
    """Requests that were under way when the clients left; their tokens count, as far as they came."""
    errors: int
    """Requests that failed."""
    first_error: str | None

    @classmethod
    def of(cls, answers: Sequence[Answer], start: float, cut_at: float | None = None) -> Summary:
        """Sum up what came from ``start`` on, until ``cut_at`` or else the last token."""
        whole = [answer for answer in answers if answer.error is None]
        cut = [answer for answer in answers if answer.error == UNFINISHED]
        failed = [answer.error for answer in answers if answer.error not in (None, UNFINISHED)]
        end = cut_at or max((at for answer in answers for at in answer.times), default=start)
        begun = [answer for answer in answers if answer.times and answer.times[0] > start]
        tokens = sum(answer.tokens_since(start) for answer in answers)
        return cls(
            requests=len(whole),
            tokens_per_request=sum(answer.tokens for answer in whole) / max(len(whole), 1),
            tokens_per_s=tokens / (end - start) if end > start else 0.0,
            first_token=Percentiles.of([answer.times[0] - answer.began for answer in begun]),
            between_tokens=Percentiles.of([gap for answer in answers for gap in answer.gaps(start)]),
            cut=len(cut),
            errors=len(failed),
            first_error=failed[0] if failed else None,
        )

    @classmethod
    def nothing(cls, error: str) -> Summary:
        """Return the summary of a run that brought an error and no answers."""
        return cls(0, 0.0, 0.0, None, None, cut=0, errors=1, first_error=error)
