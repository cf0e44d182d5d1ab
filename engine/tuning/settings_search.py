"""Which threads, ubatch and kind of attention are fastest for the file that there is."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from engine.tuning.candidate import Candidate
from engine.tuning.choice import WORTHWHILE, choose
from engine.tuning.recipe import AS_IT_IS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engine.loading.profiles import RunSettings
    from engine.tuning.lab import Lab

_UBATCHES: Final = (64, 128, 256, 512, 1024, 2048)
_LEAST_GAIN: Final = 0.95
"""What is slower than this in the first round is not timed again."""
_ROUNDS: Final = 3
SHARE: Final = 0.3
"""Share of all the time until which settings are searched."""


class SettingsSearch:
    """Tries one setting after the other, each beside those that are chosen without a profile."""

    def __init__(self, lab: Lab, streams: int, max_kl: float, *, needs_seeds: bool) -> None:
        self._lab, self._streams, self._max_kl = lab, streams, max_kl
        self._needs_seeds = needs_seeds
        self.candidates: list[Candidate] = []
        self.notes: list[str] = []

    def run(self) -> RunSettings:
        """Return the settings that are best, each by itself; the candidates say what was measured."""
        default = self._lab.original.settings
        threads = [
            self._candidate(replace(default, threads=count)) for count in _thread_counts(default.threads)
        ]
        ubatches = [
            self._candidate(replace(default, ubatch_size=size))
            for size in self._ubatch_sizes(default.ubatch_size)
        ]
        attentions = self._attentions() if self._lab.model.cell_bytes else []
        self._assess(attentions)
        timed = [*threads, *ubatches, *(each for each in attentions if each.is_within(self._max_kl))]
        self._time(timed)
        best_threads = self._best(threads)
        best_attention = self._best(attentions)
        return replace(
            best_attention.settings,
            threads=best_threads.settings.threads,
            ubatch_size=self._best_ubatch(ubatches),
        )

    def combined(self, settings: RunSettings) -> Candidate:
        """Return the candidate of the file that there is with such settings, a new one if there is none."""
        every = [self._lab.original, *self.candidates]
        same = next((each for each in every if each.settings == settings), None)
        return same or self._candidate(settings)

    def _candidate(self, settings: RunSettings) -> Candidate:
        default = self._lab.original.settings
        candidate = Candidate(AS_IT_IS, settings, changed_settings(settings, default))
        if settings.attention == default.attention:  # threads and ubatch only round differently
            candidate.quality = self._lab.original.quality
        self.candidates.append(candidate)
        return candidate

    def _attentions(self) -> list[Candidate]:
        default = self._lab.original.settings
        kinds: list[RunSettings] = [
            replace(default, flash_attn="off"),
            replace(default, cache_type_k="q8_0", cache_type_v="q8_0"),
            replace(default, cache_type_k="q4_0", cache_type_v="q4_0"),
        ]
        return [self._candidate(settings) for settings in kinds]

    def _ubatch_sizes(self, default: int) -> list[int]:
        """Return the sizes that cut the prompt that is timed in another way."""
        most = self._lab.n_prompt
        return [size for size in _UBATCHES if size <= most and size != min(default, most)]

    def _assess(self, candidates: Sequence[Candidate]) -> None:
        lab = self._lab
        for number, candidate in enumerate(candidates):
            if not lab.budget.allows(lab.assess_estimate, SHARE):
                candidate.notes.append("not measured: no time left")
                continue
            lab.budget.tell(0.05 + 0.1 * number / len(candidates), f"comparing {candidate.name}")
            lab.assess(candidate)
            if candidate.quality is not None and not candidate.is_within(self._max_kl):
                candidate.notes.append("beyond the limit")

    def _time(self, candidates: Sequence[Candidate]) -> None:
        if not candidates or not self._lab.budget.allows(0, SHARE):
            return
        self._lab.time(candidates, rounds=1, share=SHARE, tell=lambda _: self._tell(0, candidates))
        promising = [each for each in candidates if self._is_promising(each)]
        if promising and self._lab.can_time(len(promising), SHARE):
            self._lab.time(
                promising,
                rounds=_ROUNDS - 1,
                share=SHARE,
                tell=lambda number: self._tell(number + 1, promising),
            )

    def _tell(self, number: int, timed: Sequence[Candidate]) -> None:
        self._lab.budget.tell(0.15 + 0.15 * number / _ROUNDS, f"timing {len(timed)} settings")

    def _is_promising(self, candidate: Candidate) -> bool:
        speed = candidate.speed
        if speed is None:
            return False
        return max(speed.decode_gain[self._streams], speed.prefill_gain) >= _LEAST_GAIN

    def _best(self, candidates: Sequence[Candidate]) -> Candidate:
        every = [self._lab.original, *candidates]
        return choose(every, self._streams, self._max_kl, needs_seeds=self._needs_seeds)

    def _best_ubatch(self, candidates: Sequence[Candidate]) -> int:
        """Return the size with the fastest prefill; decodes are narrower than any of them."""
        gains = {
            each.settings.ubatch_size: each.speed.prefill_gain
            for each in candidates
            if each.speed and each.speed.surely_prefill >= 1.0
        }
        best = max(gains, key=gains.__getitem__, default=0)
        return best if gains.get(best, 0.0) >= WORTHWHILE else self._lab.original.settings.ubatch_size


def changed_settings(settings: RunSettings, default: RunSettings) -> tuple[str, ...]:
    """Return in words what is not as it is by default.

    >>> changed_settings(RunSettings(1, 512, cache_type_k="q8_0"), RunSettings(2, 512))
    ('1 thread', 'keys q8_0')
    """
    words = []
    if settings.threads != default.threads:
        words.append("1 thread" if settings.threads == 1 else f"{settings.threads} threads")
    if settings.ubatch_size != default.ubatch_size:
        words.append(f"ubatch {settings.ubatch_size}")
    if settings.flash_attn != default.flash_attn:
        words.append(f"flash attention {settings.flash_attn}")
    types = settings.cache_type_k, settings.cache_type_v
    if types != (default.cache_type_k, default.cache_type_v):
        words.append(f"KV {types[0]}" if types[0] == types[1] else f"keys {types[0]}, values {types[1]}")
    return tuple(words)


def _thread_counts(default: int) -> list[int]:
    """Return other numbers of threads: half of them, three quarters, and all hardware threads there are."""
    logical = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or default
    logical = min(logical, 2 * default)  # a container may have a share of many
    counts = {default // 2, default * 3 // 4, logical}
    return sorted(count for count in counts if count > 0 and count != default)
