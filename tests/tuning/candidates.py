"""Candidates with figures of one's own."""

from __future__ import annotations

import datetime
from pathlib import Path

from engine.loading.profiles import RunSettings
from engine.tuning.candidate import Candidate, Speed
from engine.tuning.quality import LOSSLESS, Quality
from engine.tuning.recipe import AS_IT_IS, Recipe
from engine.tuning.report import TuningReport

SETTINGS = RunSettings(threads=2, ubatch_size=512)
WIDTHS = (1, 8, 16)


def speed(*gains: float, prefill: float = 1.0) -> Speed:
    """Return a speed with gains at 1, 8 and 16 streams over an original of 100 tokens a second."""
    by_width = dict(zip(WIDTHS, gains, strict=True))
    return Speed(
        {width: 100 * gain for width, gain in by_width.items()},
        100 * prefill,
        by_width,
        prefill,
        5,
        surely=by_width,
        surely_prefill=prefill,
    )


def original() -> Candidate:
    return Candidate(
        AS_IT_IS, SETTINGS, quality=LOSSLESS, speed=speed(1, 1, 1), repeats_seeds=True, memory=10**8
    )


def converted(name: str, *gains: float, kl: float, prefill: float = 1.0, seeds: bool = True) -> Candidate:
    return Candidate(
        Recipe(name, {"output": name.lower()}),
        SETTINGS,
        quality=Quality(kl, 4 * kl, min(1.0, 8 * kl), 600),
        speed=speed(*gains, prefill=prefill),
        repeats_seeds=seeds,
        memory=10**8,
    )


MEASURED = [
    original(),
    converted("Q8_0", 0.95, 1.35, 1.46, kl=0.006, prefill=1.75),
    converted("Q5_0", 0.93, 1.3, 1.28, kl=0.13, prefill=1.35),
    converted("IQ4_NL", 0.9, 1.36, 1.84, kl=0.26, prefill=2.3),
    converted("Q4_0", 1.2, 1.57, 1.67, kl=0.41, prefill=2.2),
]
"""What was measured of SmolLM2 by hand."""


def report() -> TuningReport:
    """Return the report on it, with a file that was not tried."""
    untried = converted("Q6_K", 1, 1, 1, kl=0)
    untried.quality = untried.speed = None
    untried.notes.append("not tried: no time left")
    return TuningReport(
        model="smollm2-135m-instruct",
        path=Path("smollm2.gguf"),
        date=datetime.date(2026, 11, 27),
        processor="Some processor",
        seconds=321.0,
        streams=8,
        max_kl=0.02,
        widths=WIDTHS,
        n_prompt=256,
        n_text=600,
        n_context=8192,
        candidates=[*MEASURED, untried],
        needs_seeds=True,
        unrest=0.4,
        notes=("No mix with Q4_0 pays within the limit: none.",),
    )
