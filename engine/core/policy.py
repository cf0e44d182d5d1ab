"""When a sequence waits, is admitted, and leaves its prefix behind: the scheduler's numbers in one place."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SchedulingPolicy:
    """The numbers that the scheduler and the cache decide by.

    Attributes:
        headroom: Tokens of its completion that must have room before a sequence is admitted.
        min_shared_prefix: Tokens of prefill for which a sequence waits while another one computes them.
        max_deferred: The part of the cache that may be deferred cells while a sequence waits.
        min_new_tokens: Fewest new tokens for which a prefix is saved in host memory.
        max_cost: Most tokens of host memory that one new token may cost.
        burst_seconds: How long an idle engine waits for the next request of a burst before it begins.
    """

    headroom: int = 64
    min_shared_prefix: int = 32
    max_deferred: float = 1 / 8
    min_new_tokens: int = 32
    max_cost: float = 4.0
    burst_seconds: float = 0.001


DEFAULT_POLICY = SchedulingPolicy()
