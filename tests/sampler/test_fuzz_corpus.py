"""What the fuzzer found stays fixed; and the fuzzer itself finds what is wrong."""

from __future__ import annotations

import json
import os
from functools import partial
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest

from engine.sampling import Draws, RowStatus, Sampler, SamplingParams
from tests.sampler import entries, fuzz
from tests.sampler.case import Case, Step, check
from tests.sampler.case_json import from_json, to_json
from tests.sampler.generator import random_case
from tests.sampler.oracle import Choice
from tests.sampler.shrinking import shrink

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.sharedctypes import Synchronized
    from pathlib import Path

    from numpy.typing import NDArray

ENTRIES = sorted(entries.FOLDER.glob("*.json"))


@pytest.mark.parametrize("path", ENTRIES, ids=lambda path: path.stem)
def test_a_case_of_the_corpus_equals_the_reference(path: Path) -> None:
    assert check(entries.load(json.loads(path.read_text(encoding="utf-8")))).faults == []


def test_the_corpus_is_found() -> None:
    assert ENTRIES


def test_the_first_cases_equal_the_reference(capsys: pytest.CaptureFixture[str]) -> None:
    assert fuzz.main(["--cases", "150"]) == 0, capsys.readouterr().out
    assert capsys.readouterr().out.startswith("150 cases, ")


@pytest.mark.parametrize("seed", range(20))
def test_a_case_comes_back_from_json_bit_for_bit(seed: int) -> None:
    case = random_case(seed)
    data = json.loads(json.dumps(to_json(case)))
    again = from_json(data)
    assert to_json(again) == to_json(random_case(seed)) == data
    assert (again.choices, again.n_vocab) == (case.choices, case.n_vocab)
    for step, same in zip(case.steps, again.steps, strict=True):
        numbers = ~np.isnan(step.logits)
        np.testing.assert_array_equal(
            step.logits[numbers].view(np.int32), same.logits[numbers].view(np.int32)
        )
        np.testing.assert_array_equal(np.isnan(same.logits), ~numbers)


class LosesATokenOfMany(Sampler):
    """Leaves out the last token where there are more than two."""

    def distribution(
        self, logits: NDArray[np.float32], slot: int, mask: NDArray[np.int32] | None = None
    ) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        ids, probabilities = super().distribution(logits, slot, mask)
        kept = slice(None, -1 if len(ids) > 2 else None)
        return ids[kept], probabilities[kept] / probabilities[kept].sum()


class DrawsTheNext(Sampler):
    """Draws the token after the right one, now and then."""

    def sample(
        self,
        logits: NDArray[np.float32],
        slots: NDArray[np.int32],
        rows: NDArray[np.int32] | None = None,
        **masks: NDArray[np.int32] | None,
    ) -> Draws:
        draws = super().sample(logits, slots, rows, **masks)
        draws.tokens[draws.tokens % 8 == 3] += 1
        return draws


class MissesNaN(Sampler):
    """Takes a row with NaN for one with nothing to draw."""

    def sample(
        self,
        logits: NDArray[np.float32],
        slots: NDArray[np.int32],
        rows: NDArray[np.int32] | None = None,
        **masks: NDArray[np.int32] | None,
    ) -> Draws:
        draws = super().sample(logits, slots, rows, **masks)
        draws.status[draws.status == RowStatus.NAN_LOGIT] = RowStatus.NO_FINITE_LOGIT
        return draws


class RoundsLogprobs(Sampler):
    """Gives log-probabilities with three digits after the point."""

    def sample(
        self,
        logits: NDArray[np.float32],
        slots: NDArray[np.int32],
        rows: NDArray[np.int32] | None = None,
        **masks: NDArray[np.int32] | None,
    ) -> Draws:
        draws = super().sample(logits, slots, rows, **masks)
        draws.logprobs.round(3, out=draws.logprobs)
        draws.top_logprobs.round(3, out=draws.top_logprobs)
        return draws


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (LosesATokenOfMany, "tokens kept, not"),
        (DrawsTheNext, "uniform number"),
        (MissesNaN, "not NAN_LOGIT"),
        (RoundsLogprobs, "log-probabilit"),
    ],
)
def test_a_wrong_sampler_is_found_and_the_case_is_made_small(wrong: type[Sampler], says: str) -> None:
    def fails(case: Case) -> bool:
        return any(says in fault for fault in check(case, wrong).faults)

    case = next(case for case in map(random_case, range(1_000)) if len(case.steps) > 1 and fails(case))
    small = shrink(case, fails)
    assert fails(small)
    assert (len(small.choices), len(small.steps), len(small.steps[0].slots)) == (1, 1, 1)
    assert small.n_vocab <= case.n_vocab


def test_an_entry_holds_a_small_case_and_the_seed_of_a_large_one(tmp_path: Path) -> None:
    small = next(case for case in map(random_case, range(1_000)) if case.n_vocab <= entries.STORED_WHOLE)
    seed = next(seed for seed in range(1_000) if random_case(seed).n_vocab > entries.STORED_WHOLE)
    paths = [
        entries.save(entries.entry(small, None, "small"), tmp_path / "new"),
        entries.save(entries.entry(random_case(seed), seed, "large"), tmp_path / "new"),
    ]
    assert [path.name for path in paths] == ["001.json", "002.json"]
    loaded = [entries.load(json.loads(path.read_text(encoding="utf-8"))) for path in paths]
    assert [to_json(case) for case in loaded] == [to_json(small), to_json(random_case(seed))]
    with pytest.raises(ValueError, match="has none"):
        entries.entry(random_case(seed), None, "large")
    with pytest.raises(ValueError, match="made by version 0"):
        entries.load({"seed": seed, "generator": 0})


def keeping(count: int) -> type[Sampler]:
    """Return a sampler whose every distribution is that of the first tokens, all alike."""
    answer = (np.arange(count, dtype=np.int32), np.full(count, 1 / count))
    return cast("type[Sampler]", type("Keeping", (Sampler,), {"distribution": lambda *_: answer}))


@pytest.mark.parametrize(
    ("top_p", "count", "allowed"),
    [
        (0.5, 5, True),
        (0.5 + 1e-14, 5, True),
        (0.5 + 1e-14, 6, True),
        (0.5 + 1e-14, 4, False),
        (0.5 + 1e-14, 7, False),
        (0.5 + 1e-9, 5, False),
        (0.5 + 1e-9, 6, True),
        (1.0, 9, False),
        (1.0, 10, True),
    ],
)
def test_a_nucleus_may_end_on_either_side_of_a_border_within_rounding_and_nowhere_else(
    top_p: float, count: int, allowed: bool
) -> None:
    choice = Choice(SamplingParams(seed=0, top_p=top_p))
    case = Case(10, 0, [choice], [Step(np.zeros((1, 10), np.float32), [0])])
    assert any("tokens kept" in fault for fault in check(case, keeping(count)).faults) != allowed


def dies(seeds: range, _: float, under_way: Synchronized[int], __: Connection) -> None:
    """Stand in for a sampler that crashes at every third case."""
    for seed in seeds:
        under_way.value = seed
        if seed % 3 == 2:
            os._exit(9)


def test_what_the_program_finds_is_printed_and_saved_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    work = partial(fuzz.examine, sampler_type=LosesATokenOfMany)
    tally = fuzz.Fuzzer(range(12), 60, tmp_path, work).run()
    assert tally.cases == 12
    assert tally.found
    lines = capsys.readouterr().out.splitlines()
    for failure, path in zip(tally.found, sorted(tmp_path.iterdir()), strict=True):
        data = json.loads(path.read_text(encoding="utf-8"))
        assert json.loads(json.dumps(failure.entry)) == data
        assert {failure.faults[0], json.dumps(data), f"saved as {path}"} <= {line.strip() for line in lines}
        assert check(entries.load(data)).faults == []
        assert check(entries.load(data), LosesATokenOfMany).faults


def test_a_crash_is_found_and_the_cases_after_it_are_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tally = fuzz.Fuzzer(range(7), 60, tmp_path, dies).run()
    assert [(failure.seed, failure.faults) for failure in tally.found] == [
        (2, ["the process ended with 9"]),
        (5, ["the process ended with 9"]),
    ]
    assert tally.cases == 7
    assert len(list(tmp_path.iterdir())) == 2
    assert "seed 5" in capsys.readouterr().out
