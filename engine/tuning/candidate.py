"""One way to run a model: a file, and settings; and what was measured of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from engine.tuning.recipe import AS_IT_IS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from engine.loading.profiles import RunSettings
    from engine.tuning.quality import Quality
    from engine.tuning.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast it is: medians over rounds in which all candidates took turns."""

    decode: Mapping[int, float]
    """Tokens per second of all streams together, by the number of streams."""
    prefill: float
    """Tokens of a prompt per second."""
    decode_gain: Mapping[int, float]
    """Median over the rounds of what it is in tokens per second of the original in the same round."""
    prefill_gain: float
    n_rounds: int
    surely: Mapping[int, float]
    """What it exceeds in three rounds of four: the lower quartile of the gains."""
    surely_prefill: float
    """The same of the prefill."""


@dataclass(slots=True)
class Candidate:
    """A file with settings. What is not measured yet, or never was, is None."""

    recipe: Recipe
    settings: RunSettings
    changes: tuple[str, ...] = ()
    """What of the settings is not as it would be chosen without a profile, in words."""
    memory: int = 0
    """Bytes of the weights and of a full KV cache."""
    quality: Quality | None = None
    speed: Speed | None = None
    repeats_seeds: bool | None = None
    """Whether a seed repeats beside other requests without padded steps."""
    notes: list[str] = field(default_factory=list)
    """Why it was not measured, or is not chosen."""

    @property
    def is_original(self) -> bool:
        """True for the file that there is, whatever the settings."""
        return self.recipe == AS_IT_IS

    @property
    def name(self) -> str:
        """The file and the settings, such as ``Q8_0, keys q8_0``."""
        return ", ".join([self.recipe.name, *self.changes])

    def gain(self, streams: int) -> float | None:
        """Return its tokens per second in those of the original; None if it was not timed."""
        return None if self.speed is None else self.speed.decode_gain[streams]

    def is_within(self, max_kl: float) -> bool:
        """Return True if its loss of quality was measured, and is no more than the limit."""
        return self.quality is not None and self.quality.mean_kl <= max_kl
