"""What was found: every candidate, the front, the choice, and the sentence that it ends with."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine.tuning.choice import choose, front

if TYPE_CHECKING:
    import datetime
    from collections.abc import Sequence
    from pathlib import Path

    from engine.tuning.candidate import Candidate


@dataclass(frozen=True, slots=True)
class TuningReport:
    """A run of ``nucleus tune``.

    >>> report = tune(TuneSettings(streams=8))
    >>> report.choice.name, report.choice.gain(8), report.sentence
    """

    model: str
    path: Path
    date: datetime.date
    processor: str
    seconds: float
    """How long it took."""
    streams: int
    """The number of streams for which the fastest was chosen."""
    max_kl: float
    widths: tuple[int, ...]
    """All numbers of streams that were timed."""
    n_prompt: int
    """Tokens of the prompt whose computing was timed."""
    n_text: int
    """Tokens of the text on which quality was compared."""
    n_context: int
    """Tokens of the KV cache that counts as memory."""
    candidates: Sequence[Candidate]
    """The original as it would be run without a profile, then all others."""
    needs_seeds: bool
    """Whether what no longer repeats seeds was not to be chosen."""
    unrest: float
    """By what share the original's own speed differed between rounds."""
    notes: Sequence[str] = ()
    """What was left out, and why."""
    written: Path | None = None
    """Where the converted file was written."""

    @property
    def original(self) -> Candidate:
        """The file that there is, as it would be run without a profile."""
        return self.candidates[0]

    @property
    def choice(self) -> Candidate:
        """What is fastest at the streams asked for, within the limit."""
        return self.best_at(self.streams)

    @property
    def front(self) -> list[Candidate]:
        """What no other candidate beats in both speed and quality, the fastest first."""
        return front(self.candidates, self.streams)

    @property
    def settings_choice(self) -> Candidate:
        """What is fastest of the file that there is: its settings go into the file's profile."""
        return self.best_at(self.streams, originals_only=True)

    def best_at(self, streams: int, *, originals_only: bool = False) -> Candidate:
        """Return what is fastest within the limit at one of the numbers of streams that were timed."""
        candidates = [each for each in self.candidates if each.is_original or not originals_only]
        return choose(candidates, streams, self.max_kl, needs_seeds=self.needs_seeds)

    @property
    def sentence(self) -> str:
        """What was chosen, how much faster, how much worse, and who should keep the file."""
        return " ".join([self._chosen(), *self._for_one_stream()])

    def _chosen(self) -> str:
        choice = self.choice
        if choice is self.original:
            return (
                f"Keep the file you have, as it is run without a profile: nothing within a mean KL of "
                f"{self.max_kl:g} nats is clearly faster {_at(self.streams)}."
            )
        speed, quality = choice.speed, choice.quality
        if speed is None or quality is None:  # it would not have been chosen
            raise ValueError(f"{choice.name} was not measured")
        what = f"the file you have ({', '.join(choice.changes)})" if choice.is_original else choice.name
        loss = (
            f"at a mean KL of {quality.mean_kl:.2g} nats ({quality.changed_argmax:.1%} of the most probable "
            f"tokens change)"
            if quality.mean_kl
            else "with the same quality"
        )
        return (
            f"Chosen {_for(self.streams)}: {what}, with {speed.decode_gain[self.streams]:.2f} times the "
            f"tokens/s and {speed.prefill_gain:.2f} times the prefill, {loss}."
        )

    def _for_one_stream(self) -> list[str]:
        choice, alone = self.choice, self.best_at(1)
        if choice.is_original or not alone.is_original:
            return []
        gain = choice.gain(1)
        return [
            f"If you run one stream at a time, keep the file you have: {choice.name} gives "
            f"{gain:.2f} times its tokens/s."
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as numbers and texts, for ``--json``."""
        chosen, unbeaten = self.choice, {id(candidate) for candidate in self.front}
        plain = {
            "model",
            "seconds",
            "streams",
            "max_kl",
            "n_prompt",
            "n_text",
            "n_context",
            "processor",
            "unrest",
        }
        return {name: getattr(self, name) for name in sorted(plain)} | {
            "path": str(self.path),
            "date": self.date.isoformat(),
            "candidates": [
                _as_dict(candidate) | {"chosen": candidate is chosen, "on_front": id(candidate) in unbeaten}
                for candidate in self.candidates
            ],
            "notes": list(self.notes),
            "written": str(self.written) if self.written else None,
            "sentence": self.sentence,
        }


def _as_dict(candidate: Candidate) -> dict[str, Any]:
    quality, speed = candidate.quality, candidate.speed
    return {
        "name": candidate.name,
        "types": dict(candidate.recipe.types),
        "settings": dataclasses.asdict(candidate.settings),
        "memory": candidate.memory,
        "quality": dataclasses.asdict(quality) if quality and quality.is_finite else None,
        "speed": dataclasses.asdict(speed) if speed else None,
        "repeats_seeds": candidate.repeats_seeds,
        "notes": list(candidate.notes),
    }


def _at(streams: int) -> str:
    return "at one stream" if streams == 1 else f"at {streams} streams"


def _for(streams: int) -> str:
    return "for one stream" if streams == 1 else f"for {streams} streams"
