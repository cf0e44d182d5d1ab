"""The step loop by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from engine.backend.base import BackendError
from engine.core.loop import StepLoop
from engine.core.phases import Phase
from engine.core.policy import SchedulingPolicy
from engine.core.step_cost import StepCost
from engine.sampling import SamplingParams
from tests.core.fake_backend import POISON, FakeBackend
from tests.core.runs import FIRST, SECOND, THIRD, prompt
from tests.core.steps import SAVES_ALL

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.backend.base import Batch
    from engine.core.answers import Output
    from engine.core.delta import Delta
    from engine.core.engine import Engine

    Start = Callable[..., Engine]


pytestmark = pytest.mark.usefixtures("order")


def ignore(_: list[Output]) -> None:
    pass


class TestSteps:
    """The same loop without its thread, one step at a time."""

    def drain(self, steps: StepLoop, n_steps: int = 100) -> list[Delta]:
        deltas: list[Delta] = []
        for _ in range(n_steps):
            if not steps.has_work:
                return deltas
            steps.step(lambda outputs: deltas.extend(output.delta for output in outputs))
        raise AssertionError("still at work")

    def test_choices_that_prefill_beside_a_fork_draw_once(self) -> None:
        backend = FakeBackend(n_slots=3)
        steps = StepLoop(backend, max_logprobs=5)
        steps.submit(prompt(FIRST, max_tokens=2))
        steps.submit(shared := prompt(SECOND, n=5, max_tokens=2))
        self.drain(steps)
        assert [len(sequence.generated) for sequence in shared.sequences] == [2] * 5

    def test_after_a_failed_decode_nothing_is_built_on_what_was_lost(self) -> None:
        """The second wave of the request that failed, before anybody has cancelled it."""
        backend = FakeBackend(n_slots=1)
        backend.faults[2] = BackendError("no luck")
        steps = StepLoop(backend, max_logprobs=5)
        steps.submit(shared := prompt(FIRST, n=2, max_tokens=3))
        deltas = self.drain(steps)
        assert [delta.choice for delta in deltas if delta.error is not None] == [0]
        fresh = StepLoop(FakeBackend(n_slots=2), max_logprobs=5)
        fresh.submit(reference := prompt(FIRST, n=2, max_tokens=3))
        self.drain(fresh)
        assert shared.sequences[1].generated == reference.sequences[1].generated

    @pytest.mark.parametrize("fault", ["cut", "saved"])
    def test_after_a_text_that_could_not_be_moved_nothing_is_built_on_the_cache(self, fault: str) -> None:
        backend = FakeBackend(n_slots=2)
        steps = StepLoop(backend, max_logprobs=5, policy=SAVES_ALL)
        steps.submit(prompt(FIRST, max_tokens=1))
        steps.submit(unlucky := prompt(SECOND, max_tokens=5))
        outputs: list[Output] = []
        steps.step(outputs.extend)
        (backend.cut_faults if fault == "cut" else backend.save_faults).append(BackendError("no luck"))
        deltas = [*(output.delta for output in outputs), *self.drain(steps)]
        assert [delta.error is not None for delta in deltas if delta.is_last] == [False, True]
        assert unlucky.sequences[0].phase is Phase.FINISHED
        later = [prompt(tokens, max_tokens=3) for tokens in (THIRD, FIRST)]
        for each in later:
            steps.submit(each)
        self.drain(steps)
        assert [len(each.sequences[0].generated) for each in later] == [3, 3]
        assert [each.n_cached for each in later] == [0, 0]

    def test_a_text_that_comes_again_is_restored(self) -> None:
        steps = StepLoop(FakeBackend(n_slots=2), max_logprobs=5, policy=SAVES_ALL)
        answers = []
        for cached in (0, 4):
            steps.submit(again := prompt([*SECOND, 3], max_tokens=5))
            self.drain(steps)
            assert again.n_cached == cached
            answers.append(again.sequences[0].generated)
        assert answers[0] == answers[1]

    def test_a_prompt_beside_a_running_stream_keeps_to_the_pace(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        backend = FakeBackend(n_slots=2)
        sizes: list[int] = []
        start = backend.start

        def watched(batch: Batch) -> None:
            sizes.append(batch.size)
            start(batch)

        monkeypatch.setattr(backend, "start", watched)
        monkeypatch.setattr(StepCost, "note", lambda *_, **__: None)  # the fake model takes no time
        cost = StepCost({1: 0.010}, {1: 0.002}, max_decodes=2, max_tokens=64)
        steps = StepLoop(backend, max_logprobs=5, cost=cost)
        steps.submit(prompt([1] * 10, max_tokens=4))
        steps.step(ignore)
        steps.submit(prompt([2] * 10, max_tokens=1))
        self.drain(steps)
        assert sizes == [10, 1 + 5, 1 + 5, 1]

    def test_a_preempted_choice_goes_on_as_if_nothing_had_been(self) -> None:
        """The same tokens, log-probabilities and penalties as with room for everybody."""
        answers = []
        for n_cells in (40, 256):
            steps = StepLoop(
                FakeBackend(n_slots=4, n_cells=n_cells), max_logprobs=5, policy=SchedulingPolicy(headroom=1)
            )
            prompts = [prompt(tokens, n=2, max_tokens=20) for tokens in (FIRST, SECOND)]
            for each in prompts:
                for sequence in each.sequences:
                    sequence.params = SamplingParams(
                        seed=7, logprobs=2, frequency_penalty=1.5, repetition_penalty=1.3
                    )
                steps.submit(each)
            self.drain(steps, 400)
            sequences = [sequence for each in prompts for sequence in each.sequences]
            assert any(sequence.n_preempted for sequence in sequences) == (n_cells == 40)
            answers.append([sequence.generated for sequence in sequences])
        assert answers[0] == answers[1]

    def test_a_failed_sequence_leaves_no_cell(self) -> None:
        backend = FakeBackend(n_slots=2)
        steps = StepLoop(backend, max_logprobs=5)
        steps.submit(bad := prompt([POISON, 1, 2], n=3, max_tokens=12))
        deltas = self.drain(steps)
        assert sorted(delta.choice for delta in deltas if delta.error is not None) == [0, 1, 2]
        assert all(sequence.phase is Phase.FINISHED for sequence in bad.sequences)
        assert [backend.used_cells(slot) for slot in range(2)] == [0, 0]
