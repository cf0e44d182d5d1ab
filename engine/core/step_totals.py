"""What all steps had together."""

from __future__ import annotations

from dataclasses import dataclass, field

from engine.histogram import Histogram

_STEP_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_SAMPLING_SECONDS = (1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1)
"""A greedy draw takes microseconds; many draws with penalties, over a large vocabulary, take milliseconds."""


@dataclass(slots=True)
class StepTotals:
    """Written by the engine thread, read by any."""

    steps: int = 0
    failed: int = 0
    """Steps that ended with an error."""
    decoded: int = 0
    """Tokens that were decoded after they had been drawn, one for each sequence in a step."""
    prefilled: int = 0
    """Tokens that were computed many at a time: of prompts, of texts that go on, and forced ones."""
    padding: int = 0
    """Tokens that were decoded for nobody."""
    drafted: int = 0
    """Tokens that were guessed and decoded."""
    accepted: int = 0
    """Those of them that were drawn, too."""
    forced: int = 0
    """Tokens that forms have forced."""
    masked: int = 0
    """Steps in which somebody's answer had a form."""
    late_masks: int = 0
    """Those of them that waited for what the form allows."""
    mask_seconds: float = 0.0
    """How long they waited."""
    preemptions: int = 0
    """How many times a sequence has lost its slot."""
    restored: int = 0
    """Prefixes that an earlier process had saved."""
    graphs_reused: int = 0
    """Steps for which the backend prepared nothing anew."""
    step_seconds: Histogram = field(default_factory=lambda: Histogram(_STEP_SECONDS))
    """From the plan of a step until its text is delivered."""
    model_seconds: Histogram = field(default_factory=lambda: Histogram(_STEP_SECONDS))
    """Of that, from the start of the model until its logits are there."""
    sampling_seconds: Histogram = field(default_factory=lambda: Histogram(_SAMPLING_SECONDS))
    """Of that, drawing from them, with the wait for masks."""
