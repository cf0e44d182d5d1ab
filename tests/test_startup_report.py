"""What a server says of its choices when it starts."""

from __future__ import annotations

from engine.core.attention_cost import AttentionCost, AttentionCosts
from engine.core.step_cost import StepCost
from engine.loading.report import step_setting


def test_what_steps_cost_is_told_and_which_are_padded() -> None:
    decode = {1: 0.0147, 3: 0.0452, 4: 0.0352, 16: 0.117}
    attention = AttentionCosts.unknown()._replace(decodes=AttentionCost(10e-6, at=256))
    cost = StepCost(decode, {1: 0.005}, max_decodes=19, max_tokens=512, attention=attention)
    _, value, reason = step_setting(cost, n_slots=16)
    assert value == "14.7 ms for one token, 117 ms for 16, 2.6 ms more after 256 tokens"
    assert reason == "measured; padded, as that is cheaper: 3 to 4"


def test_a_width_for_which_there_was_no_time_is_not_told() -> None:
    cost = StepCost({1: 0.5}, {1: 0.5}, max_decodes=19, max_tokens=512)
    assert step_setting(cost, n_slots=16)[1:] == ("500 ms for one token", "measured")


def test_what_was_not_measured_is_told_as_such() -> None:
    assert step_setting(StepCost.uniform(4, 512), n_slots=1).value == "not measured"
