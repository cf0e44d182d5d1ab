"""Prompts whose own tokens are scored, in the step loop."""

from __future__ import annotations

import numpy as np
import pytest

from engine.core.delta import Delta
from engine.core.loop import StepLoop
from engine.core.phases import Phase
from engine.core.sequence import Prompt, Sequence, StopRules
from engine.errors import InternalError
from engine.sampling import SamplingParams
from tests.core.fake_backend import END, N_VOCAB, POISON, FakeBackend
from tests.sampler.oracle import logprobs as log_softmax

pytestmark = pytest.mark.usefixtures("order")

TEXT = [1, 2, 3, 4, 5, 6, 7, 8]


def prompt(tokens: list[int], *, scored: int | None, n: int = 1, max_tokens: int = 3) -> Prompt:
    made = Prompt(object(), tokens, len(tokens), n_alternatives=scored)
    stop = StopRules(frozenset({END}))
    for choice in range(n):
        params = SamplingParams(seed=1, logprobs=scored)
        made.sequences.append(
            Sequence(made, choice, params, max_tokens=max_tokens, stop=stop, rng_stream=choice)
        )
    return made


def run(steps: StepLoop) -> list[Delta]:
    deltas: list[Delta] = []
    for _ in range(100):
        if not steps.has_work:
            return deltas
        steps.step(lambda outputs: deltas.extend(output.delta for output in outputs))
    raise AssertionError("it does not end")


def check(scored: Prompt, backend: FakeBackend) -> None:
    """Compare the scores with the log softmax of the fake's logits."""
    asked = scored.n_alternatives
    assert asked is not None
    assert len(scored.scores) == len(scored.tokens) - 1
    for i, score in enumerate(scored.scores, start=1):
        row = backend.row(scored.tokens[:i])
        (expected,) = log_softmax(row[None])
        best = np.argsort(-row, kind="stable")[:asked]
        assert score.logprob == pytest.approx(expected[scored.tokens[i]], abs=4e-6)
        assert [token for token, _ in score.alternatives] == best.tolist()
        assert [logprob for _, logprob in score.alternatives] == pytest.approx(expected[best], abs=4e-6)


@pytest.mark.parametrize("asked", [0, 2, 5])
@pytest.mark.parametrize("length", [1, 2, 3, 4, 8])
def test_every_token_but_the_first_has_its_score(asked: int, length: int) -> None:
    backend = FakeBackend()
    steps = StepLoop(backend, max_logprobs=5)
    steps.submit(scored := prompt(TEXT[:length], scored=asked))
    assert sum(delta.n_tokens for delta in run(steps)) == 3
    check(scored, backend)
    assert backend.n_decodes == -(-length // backend.n_scored) + 2


def test_choices_draw_what_they_draw_without_scores_and_share_them() -> None:
    backend = FakeBackend()
    steps = StepLoop(backend, max_logprobs=5)
    steps.submit(scored := prompt(TEXT, scored=2, n=3))
    run(steps)
    check(scored, backend)
    plain = StepLoop(FakeBackend(), max_logprobs=5)
    plain.submit(unscored := prompt(TEXT, scored=None, n=3))
    run(plain)
    assert [sequence.generated for sequence in scored.sequences] == [
        sequence.generated for sequence in unscored.sequences
    ]


def test_more_choices_than_slots_score_once() -> None:
    backend = FakeBackend(n_slots=2)
    steps = StepLoop(backend, max_logprobs=5)
    steps.submit(scored := prompt(TEXT, scored=1, n=5))
    assert sum(delta.is_last for delta in run(steps)) == 5
    check(scored, backend)


def test_scored_and_other_prompts_and_streams_share_their_steps() -> None:
    backend = FakeBackend(n_slots=4)
    steps = StepLoop(backend, max_logprobs=5)
    prompts = [
        prompt([9, 9], scored=None, max_tokens=8),
        prompt(TEXT, scored=2),
        prompt([5, *TEXT], scored=None),
        prompt([6, 5, *TEXT], scored=0, max_tokens=0),
    ]
    steps.submit(prompts[0])
    steps.step(lambda _: None)
    for other in prompts[1:]:
        steps.submit(other)
    run(steps)
    check(prompts[1], backend)
    check(prompts[3], backend)
    for each in prompts[:3]:
        apart = StepLoop(FakeBackend(), max_logprobs=5)
        apart.submit(same := prompt(each.tokens, scored=None, max_tokens=each.sequences[0].max_tokens))
        run(apart)
        assert each.sequences[0].generated == same.sequences[0].generated


@pytest.mark.parametrize("scored", [None, 1])
def test_no_tokens_at_all_end_with_the_prompt(scored: int | None) -> None:
    backend = FakeBackend()
    steps = StepLoop(backend, max_logprobs=5)
    steps.submit(asked := prompt(TEXT, scored=scored, n=2, max_tokens=0))
    deltas = run(steps)
    assert deltas == [Delta(choice, "", (), 0, 0.0, "length") for choice in (0, 1)]
    assert all(sequence.phase is Phase.FINISHED for sequence in asked.sequences)
    assert steps.scheduler.free_cells == backend.n_cells


def test_a_text_that_is_kept_is_scored_from_its_beginning() -> None:
    backend = FakeBackend()
    steps = StepLoop(backend, max_logprobs=5)
    long = [1 + i % (N_VOCAB - 2) for i in range(60)]
    for scored in (None, 1):
        steps.submit(asked := prompt(long, scored=scored))
        run(steps)
    check(asked, backend)
    assert asked.n_cached == 0
    steps.submit(later := prompt(long, scored=None))
    run(steps)
    assert later.n_cached == 59


def test_a_row_that_is_no_use_fails_its_own_request() -> None:
    backend = FakeBackend()
    steps = StepLoop(backend, max_logprobs=5)
    bad, good = prompt([POISON, *TEXT], scored=1), prompt(TEXT, scored=1)
    steps.submit(bad)
    steps.submit(good)
    failed = [delta for delta in run(steps) if delta.error is not None]
    assert [type(delta.error) for delta in failed] == [InternalError]
    assert bad.sequences[0].phase is Phase.FINISHED
    check(good, backend)
