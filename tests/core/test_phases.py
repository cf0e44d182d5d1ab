"""What may follow what in the life of a sequence."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest

from engine.core.phases import TRANSITIONS, Phase, PhaseError
from engine.core.sequence import Prompt, Sequence, StopRules
from engine.sampling import SamplingParams


@pytest.mark.parametrize(("now", "wanted"), list(product(Phase, Phase)))
def test_a_sequence_moves_as_the_table_says(now: Phase, wanted: Phase) -> None:
    prompt = Prompt(object(), [1], 0)
    sequence = Sequence(prompt, 0, SamplingParams(seed=1), max_tokens=1, stop=StopRules())
    sequence.phase = now
    if wanted in TRANSITIONS[now]:
        sequence.move_to(wanted)
        assert sequence.phase is wanted
    else:
        with pytest.raises(PhaseError, match=f"{now.name} cannot move to {wanted.name}"):
            sequence.move_to(wanted)
        assert sequence.phase is now


def test_every_phase_can_be_reached_and_leads_to_the_end() -> None:
    assert set(TRANSITIONS) == set(Phase)
    assert set().union(*TRANSITIONS.values()) == set(Phase)
    assert [phase for phase, following in TRANSITIONS.items() if not following] == [Phase.FINISHED]


def test_the_diagram_of_the_architecture_page_is_drawn_from_the_table() -> None:
    drawn = "\n".join(
        f"    {now.name} --> {following.name}: {reason}"
        for now, reasons in TRANSITIONS.items()
        for following, reason in reasons.items()
    )
    page = Path(__file__).parents[2] / "docs" / "architecture.md"
    assert f"```mermaid\nstateDiagram-v2\n{drawn}\n```" in page.read_text()
