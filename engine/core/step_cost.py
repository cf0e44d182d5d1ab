"""What a step costs on this machine: seconds as a function of its decodes and its prompt tokens.

There are two curves, which are measured when a model is loaded and refined by every step:

- ``decode[n]``: a step of ``n`` tokens that all leave a row of logits, as decodes do;
- ``prefill[n]``: a step of ``n`` tokens of which the last one does, as those of a prompt.

What the rows of ``d`` decodes cost is ``decode[d] - prefill[d]``, so ``p`` prompt tokens beside them make it
``prefill[d + p] + decode[d] - prefill[d]``. To that comes what the rows take for the tokens before them
(:mod:`engine.core.attention_cost`).

Neither curve is smooth. On a CPU llama.cpp multiplies some types of weights by four rows at a time, and those
left over take a slower kernel: a step of five costs more than one of six. On a GPU 64 tokens cost little more
than 8.

A common factor, the pace, follows what slows down all steps at once: another program, heat. It moves quickly
and the curves slowly, so that a neighbour for some seconds changes no decision.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.core.attention_cost import AttentionCosts, Depth

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_PACE_GAIN = 0.1
"""The part of a surprise that the pace takes."""
_LEAST_GAIN = 0.01
"""The part that a point of a curve takes, once it has been measured many times."""
_MOST_SURPRISE = math.log(1.5)
"""A step that another program held up counts as no more."""
_MOST_DRIFT = math.log(1.1)
"""A point that is well known moves as if no step had surprised more than this: the rest is the pace."""
_CALIBRATED = 16
"""Steps as which a measurement with nothing beside it counts."""
_UNKNOWN = 1e-3
"""Seconds of a token, until one has been measured."""
_WORTH = 0.97
"""A wider step is taken if it costs at most this part of the narrower one."""
MOST_PADDING = 3
"""Rows that are thrown away at most: kernels take rows by four."""
_CHOOSE_EVERY = 64
"""Steps after which the widths are chosen anew."""
_TRY_EVERY = 128
"""Steps of decodes after which one has another width, to see what that costs now."""
_NO_DEPTH = Depth()


@dataclass(slots=True)
class _Point:
    """One place of a curve."""

    seconds: float
    n_measured: int

    def take(self, surprise: float) -> float:
        """Move by a part of a surprise, the larger the less is known; return which part."""
        gain = max(_LEAST_GAIN, 1 / (self.n_measured + 1))
        if self.n_measured >= _CALIBRATED:
            surprise = min(max(surprise, -_MOST_DRIFT), _MOST_DRIFT)
        self.seconds *= math.exp(gain * surprise)
        self.n_measured += 1
        return gain


class StepCost:
    """The two curves and the pace.

    Args:
        decode: Seconds of steps with so many decodes, and nothing else.
        prefill: Seconds of steps with so many tokens of a prompt, and nothing else; powers of two.
        max_decodes: Most rows of decodes in a step, padding included.
        max_tokens: Most tokens of a step.
        attention: What rows take for the tokens before them.
        pace: How much longer all of it takes now.

    What is not measured is interpolated, or extrapolated, until a step shows it.
    """

    def __init__(
        self,
        decode: Mapping[int, float],
        prefill: Mapping[int, float],
        *,
        max_decodes: int,
        max_tokens: int,
        attention: AttentionCosts | None = None,
        pace: float = 1.0,
    ) -> None:
        self._max_tokens = max_tokens
        self._decode = _curve(decode, range(1, max_decodes + 1))
        self._sizes = prefill_sizes(max_tokens)
        self._prefill = _curve(prefill, self._sizes)
        self._attention = attention or AttentionCosts.unknown()
        self._pace = pace
        self._n_asked = self._n_noted = 0
        self._widths = {decodes: decodes for decodes in self._decode}
        self._choose_widths()

    @classmethod
    def uniform(cls, max_decodes: int, max_tokens: int) -> StepCost:
        """Return what is believed before anything is measured: that all tokens cost the same."""
        return cls({}, {}, max_decodes=max_decodes, max_tokens=max_tokens)

    @property
    def max_decodes(self) -> int:
        """Most rows of decodes in a step, padding included."""
        return len(self._decode)

    @property
    def widths(self) -> Mapping[int, int]:
        """Number of decodes -> rows of the step that is taken for them: as many, or more and cheaper."""
        return self._widths

    def seconds(
        self,
        decodes: int,
        prompt_tokens: int = 0,
        *,
        padding: int = 0,
        depth: Depth = _NO_DEPTH,
        guesses: int = 0,
    ) -> float:
        """Return how long a step is expected to take.

        Args:
            decodes: Tokens that leave a row of logits.
            prompt_tokens: Tokens of prompts.
            padding: Tokens for nobody.
            depth: How many tokens lie before them; those for nobody have none.
            guesses: How many of the decodes are guesses, beside one that is not.

        >>> StepCost.uniform(8, 512).seconds(4, 6)
        0.01
        """
        alone = self._cost(*_with_padding(decodes, prompt_tokens, padding))
        return self._pace * (alone + self._for_depth(decodes, prompt_tokens, depth, guesses))

    def table(self, n_slots: int) -> dict[int, float]:
        """Return the seconds of steps with so many decodes as were measured: 1, 2, 4, … and ``n_slots``."""
        decodes = {1 << i for i in range(n_slots.bit_length())} | {n_slots}
        return {each: self.seconds(each) for each in sorted(decodes) if self.is_known(each)}

    def attention_table(self) -> dict[int, float]:
        """Return the seconds that a decode takes for so many tokens before it, where that was measured."""
        return {depth: self._pace * seconds for depth, seconds in self._attention.decodes.table().items()}

    def is_known(self, decodes: int) -> bool:
        """Return True if a step with so many decodes was measured."""
        return decodes in self._decode and self._decode[decodes].n_measured > 0

    def padding(self, decodes: int) -> int:
        """Return how many rows that are thrown away make a step of decodes cheaper.

        Now and then it returns another number, to learn what a step of that width costs.

        >>> StepCost({5: 0.057, 6: 0.047}, {1: 0.010}, max_decodes=8, max_tokens=512).padding(5)
        1
        """
        self._n_asked += 1
        if self._n_asked % _TRY_EVERY:
            return self._widths[decodes] - decodes
        wider = range(decodes + 1, min(decodes + MOST_PADDING, len(self._decode)) + 1)
        return next((width - decodes for width in wider if not self.is_known(width)), 0)

    def prompt_tokens(self, decodes: int, share: float, depth: Depth = _NO_DEPTH) -> int:
        """Return the most prompt tokens that add at most ``share`` times what the decodes cost alone."""
        alone = self._cost(decodes, 0)
        most = alone + share * (alone + self._for_depth(decodes, 0, depth))
        low, high = 0, self._max_tokens - decodes
        while low < high:
            middle = (low + high + 1) // 2
            if self._cost(decodes, middle) + self._for_depth(0, middle, depth) <= most:
                low = middle
            else:
                high = middle - 1
        return low

    def note(
        self,
        decodes: int,
        prompt_tokens: int,
        seconds: float,
        *,
        padding: int = 0,
        depth: Depth = _NO_DEPTH,
        guesses: int = 0,
    ) -> None:
        """Learn from a step that took so many seconds; the other arguments are those of :meth:`seconds`."""
        expected = self.seconds(decodes, prompt_tokens, padding=padding, depth=depth, guesses=guesses)
        surprise = math.log(max(seconds, 1e-9) / expected)
        surprise = min(max(surprise, -_MOST_SURPRISE), _MOST_SURPRISE)
        excess = min(seconds - expected, (math.exp(_MOST_SURPRISE) - 1) * expected) / self._pace
        surprise *= 1 - self._note_depth(decodes, prompt_tokens, depth, guesses, excess)
        width, of_prompts = _with_padding(decodes, prompt_tokens, padding)
        point = self._prefill[self._nearest(width + of_prompts)] if of_prompts else self._decode[width]
        self._pace *= math.exp(_PACE_GAIN * (1 - point.take(surprise)) * surprise)
        self._n_noted += 1
        if self._n_noted % _CHOOSE_EVERY == 0:
            self._choose_widths()

    def _for_depth(self, decodes: int, prompt_tokens: int, depth: Depth, guesses: int = 0) -> float:
        """Return the seconds that go to the tokens before, at a pace of 1."""
        seconds = 0.0
        if depth.decodes:
            seconds = (decodes - guesses) * self._attention.decodes.seconds(depth.decodes)
            seconds += guesses * self._attention.guesses.seconds(depth.decodes) if guesses else 0.0
        if prompt_tokens and depth.prompts:
            seconds += prompt_tokens * self._attention.prompts.seconds(depth.prompts)
        return seconds

    def _note_depth(
        self, decodes: int, prompt_tokens: int, depth: Depth, guesses: int, excess: float
    ) -> float:
        """Let the tokens before explain a part of the seconds beyond what was expected; return which part."""
        if prompt_tokens:
            return self._attention.prompts.take(depth.prompts, excess / prompt_tokens)
        if guesses:
            return self._attention.guesses.take(depth.decodes, excess / guesses)
        return self._attention.decodes.take(depth.decodes, excess / decodes) if decodes else 0.0

    def _cost(self, decodes: int, prompt_tokens: int) -> float:
        """Return the seconds of a step with nothing before its rows, at a pace of 1."""
        if decodes == 0:
            return self._prefill_cost(prompt_tokens)
        alone = self._decode[decodes].seconds
        if prompt_tokens == 0:
            return alone
        tokens = decodes + prompt_tokens
        return alone + max(self._prefill_cost(tokens) - self._prefill_cost(decodes), 0.0)

    def _prefill_cost(self, tokens: int) -> float:
        """Interpolate between the sizes that have a point."""
        above = bisect_left(self._sizes, tokens)
        if above == 0 or self._sizes[above] == tokens:
            return self._prefill[self._sizes[above]].seconds
        low, high = self._sizes[above - 1], self._sizes[above]
        start, end = self._prefill[low].seconds, self._prefill[high].seconds
        return start + (tokens - low) / (high - low) * (end - start)

    def _nearest(self, tokens: int) -> int:
        """Return the size with a point that is nearest, by ratio."""
        above = bisect_left(self._sizes, tokens)
        low, high = self._sizes[max(above - 1, 0)], self._sizes[above]
        return low if tokens * tokens < low * high else high

    def _choose_widths(self) -> None:
        """Choose the cheapest width for each number of decodes, among those that were measured.

        The width so far has to be beaten by some per cent, so that the choice does not waver: llama.cpp
        builds a new graph for each step that differs from the one before.
        """
        known = {width: point.seconds for width, point in self._decode.items() if point.n_measured}
        for decodes, alone in known.items():
            wider = (width for width in range(decodes, decodes + MOST_PADDING + 1) if width in known)
            best, now = min(wider, key=known.__getitem__), known[self._widths[decodes]]
            if known[best] < _WORTH * now:
                self._widths[decodes] = best
            elif alone < now:
                self._widths[decodes] = decodes


def _with_padding(decodes: int, prompt_tokens: int, padding: int) -> tuple[int, int]:
    """Return the place of a step in the curves: padding costs what the others do."""
    return (decodes, prompt_tokens + padding) if prompt_tokens else (decodes + padding, 0)


def prefill_sizes(max_tokens: int) -> list[int]:
    """Return the powers of two below the most tokens of a step, and that number."""
    return [*(1 << i for i in range((max_tokens - 1).bit_length())), max_tokens]


def _curve(measured: Mapping[int, float], places: Iterable[int]) -> dict[int, _Point]:
    """Return a point for each place: measured, or on the straight line through its neighbours."""
    known = sorted(measured)

    def seconds(place: int) -> float:
        if place in measured:
            return measured[place]
        if len(known) < 2:
            return place * (measured[known[0]] / known[0] if known else _UNKNOWN)
        above = min(max(bisect_left(known, place), 1), len(known) - 1)
        low, high = known[above - 1], known[above]
        slope = (measured[high] - measured[low]) / (high - low)
        if place > high:
            return measured[high] + max(slope, 0.0) * (place - high)
        return max(measured[low] + slope * (place - low), 1e-9)

    return {place: _Point(seconds(place), _CALIBRATED * (place in measured)) for place in places}
