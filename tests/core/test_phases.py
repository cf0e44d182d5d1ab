"""What may follow what in the life of a sequence."""

from __future__ import annotations

from itertools import product

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


def test_every_phase_can_be_reached_and_finishes() -> None:
    assert set(TRANSITIONS) == set(Phase)
    assert set().union(*TRANSITIONS.values()) == set(Phase)
    assert all(
        Phase.FINISHED in following for phase, following in TRANSITIONS.items() if phase is not Phase.FINISHED
    )
    assert not TRANSITIONS[Phase.FINISHED]
