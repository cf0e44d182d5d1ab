"""Answers of a given form: masks, forced tokens, and that nothing but the excluded tokens changes."""

from __future__ import annotations

import json
import math
import re
import threading
from collections import Counter
from functools import cache
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.loop import StepLoop
from engine.core.masks import Masks
from engine.core.sequence import Prompt, Sequence, StopRules
from engine.errors import InternalError, InvalidRequestError
from engine.grammar.compiler import GrammarCompiler
from engine.grammar.form import Form
from engine.grammar.matcher import Matcher
from engine.grammar.tokenizer import tokenizer_of
from engine.sampling import SamplingParams
from tests.core.fake_backend import END, N_VOCAB, FakeBackend
from tests.core.runs import whole
from tests.sampler.oracle import chi_square_limit

if TYPE_CHECKING:
    from engine.core.answers import Output
    from engine.core.delta import Delta

REGEXES = [
    None,
    "A+",
    "(ABCABC|ABD)+X?",
    "[A-E]{2,6}HELLO[F-J]",
    "(AAAAAAAAAAAA|B)*Z",
    "ABCDEFGHIJKLMNOPQRST",
    "[A-Z]*",
]
STOPS = [(), ("AB",), ("EL", "C")]


@cache
def compiler() -> GrammarCompiler:
    fake = FakeBackend()
    pieces = [fake.piece(token) for token in range(N_VOCAB)]
    return GrammarCompiler(
        tokenizer_of(
            pieces,
            special={END},
            ends={END},
            tokenize=lambda text: fake.tokenize(text, add_special=False),
        )
    )


def matcher(regex: str | None) -> Matcher | None:
    return None if regex is None else compiler().compile(Form("regex", regex))


class Overlapping(FakeBackend):
    """The same model, taking its steps by itself."""

    is_asynchronous = True


def asked(regex: str | None, *, n: int = 1, max_tokens: int = 30, least: int = 0, **options: Any) -> Prompt:
    """Make a request for choices of a form."""
    made = Prompt(object(), options.pop("tokens", [1, 2, 3]), 3)
    strings = options.pop("stops", ())
    stop = StopRules(frozenset({END}), strings, min_tokens=least)
    params = SamplingParams(**({"seed": 1} | options))
    made.sequences += [
        Sequence(
            made, choice, params, max_tokens=max_tokens, stop=stop, rng_stream=choice, matcher=matcher(regex)
        )
        for choice in range(n)
    ]
    return made


def told(backend: FakeBackend, prompts: list[Prompt]) -> tuple[list[list[Delta]], StepLoop]:
    """Run requests to their ends; return what each was told."""
    steps = StepLoop(backend, max_logprobs=5)
    outputs: list[Output] = []
    for each in prompts:
        steps.submit(each)
    for _ in range(3000):
        if not steps.has_work:
            break
        steps.step(outputs.extend)
    steps.close()
    assert not steps.has_work
    assert steps.scheduler.free_cells == backend.n_cells
    assert all(backend.used_cells(slot) == 0 for slot in range(backend.n_slots))
    return [[each.delta for each in outputs if each.owner is one.owner] for one in prompts], steps


def without_sums(deltas: list[Delta]) -> list[tuple[Any, ...]]:
    """Return what was told of each choice, but for sums of log-probabilities that nobody asked for."""
    return [(text, scores, n_tokens, ends) for text, scores, n_tokens, _, ends in whole(deltas).values()]


def texts(deltas: list[Delta]) -> list[str]:
    return [each[0] for _, each in sorted(whole(deltas).items())]


def possible(fields: dict[str, Any]) -> dict[str, Any]:
    """Ask for no more tokens than may be generated."""
    return fields | {"least": min(fields["least"], fields["max_tokens"])}


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "regex": st.sampled_from(REGEXES),
                "n": st.integers(1, 3),
                "max_tokens": st.integers(1, 40),
                "least": st.sampled_from([0, 0, 1, 7, 40]),
                "stops": st.sampled_from(STOPS),
                "tokens": st.lists(st.integers(1, 30), min_size=1, max_size=9),
                "seed": st.integers(0, 3),
                "temperature": st.sampled_from([0.0, 0.7]),
                "frequency_penalty": st.sampled_from([0.0, 0.3]),
                "logprobs": st.sampled_from([None, None, 2]),
            }
        ).map(possible),
        min_size=1,
        max_size=4,
    ),
    st.integers(1, 3),
    st.sampled_from([64, 256]),
    st.sampled_from([FakeBackend, Overlapping]),
)
def test_forced_tokens_are_those_that_would_be_drawn(
    spec: list[dict[str, Any]], n_slots: int, n_cells: int, kind: type[FakeBackend]
) -> None:
    """Alone or beside others, preempted or not, one by one or together: the same texts, all of their form."""
    options: dict[str, Any] = {"n_slots": n_slots, "n_cells": n_cells, "endless": False}
    together, _ = told(kind(**options), [asked(**fields) for fields in spec])
    with patch.object(Matcher, "forced", lambda _: []):
        one_by_one, _ = told(FakeBackend(**options), [asked(**fields) for fields in spec])
    assert [*map(without_sums, together)] == [*map(without_sums, one_by_one)]
    for fields, deltas in zip(spec, together, strict=True):
        for text, _, n_tokens, _, ends in whole(deltas).values():
            assert len(ends) == 1
            assert n_tokens <= fields["max_tokens"]
            if ends[0][0] == "stop" and fields["regex"] and not fields["stops"]:
                assert re.fullmatch(fields["regex"], text)


def test_what_is_forced_takes_one_step() -> None:
    backend = FakeBackend(n_slots=2, endless=False)
    deltas, steps = told(backend, [asked("[AB]CDEFGHIJ[KL]MNOPQRSTUV")])
    assert re.fullmatch("[AB]CDEFGHIJ[KL]MNOPQRSTUV", texts(deltas[0])[0])
    assert steps.totals.steps == 2, "the prompt, and CDEFGHIJ; nothing is drawn behind the last forced token"


def test_with_log_probabilities_each_token_is_drawn() -> None:
    deltas, steps = told(FakeBackend(endless=False), [asked("ABCDEF", logprobs=1)])
    ((text, scores, n_tokens, _, ends),) = whole(deltas[0]).values()
    assert (text, n_tokens, ends) == ("ABCDEF", 6, (("stop", "None"),))
    assert len(scores) == 6
    assert any(score.alternatives[0][0] != score.token for score in scores), "raw, so another may be the best"
    assert steps.totals.steps == 6


@pytest.mark.parametrize("kind", [FakeBackend, Overlapping])
def test_tokens_are_marked_where_all_answers_go_on_alike(kind: type[FakeBackend]) -> None:
    answers = ["ABCABC", "ABCABCX", "ABDE", "ABDEX", "FGH"]
    prompt = asked("ABCABCX?|ABDEX?|FGH", n=8, logprobs=0, temperature=3.0)
    deltas, _ = told(kind(n_slots=8, endless=False), [prompt])
    marked = set()
    for text, scores, *_ in whole(deltas[0]).values():
        for i, score in enumerate(scores[: len(text)]):
            going = {answer[i : i + 1] for answer in answers if answer.startswith(text[:i])}
            assert score.is_forced == (len(going) == 1), (text, i)
            marked.add(score.is_forced)
        assert not any(score.is_forced for score in scores[len(text) :]), "an end is no text"
    assert marked == {True, False}


def test_penalties_count_forced_tokens() -> None:
    """After AAAA a strong penalty leaves only B, whatever the model would say."""
    penalized = asked("A{4}[AB]", frequency_penalty=1e4)
    deltas, _ = told(FakeBackend(endless=False), [penalized])
    assert texts(deltas[0]) == ["AAAAB"]


def test_a_choice_ends_as_soon_as_its_form_is_complete() -> None:
    deltas, _ = told(FakeBackend(), [asked("AB", least=10)])
    ((text, _, n_tokens, _, ends),) = whole(deltas[0]).values()
    assert (text, n_tokens, ends) == ("AB", 2, (("stop", "None"),))


def test_a_form_of_which_nothing_is_left_hurts_nobody_else() -> None:
    banned = asked("A|B", logit_bias={1: float("-inf"), 2: float("-inf")})
    other = asked("C+D", seed=5, max_tokens=5)
    (failed, fine), _ = told(FakeBackend(endless=False), [banned, other])
    assert isinstance(failed[-1].error, InvalidRequestError)
    assert "cannot be followed behind 0 tokens" in str(failed[-1].error)
    (alone,), _ = told(FakeBackend(endless=False), [asked("C+D", seed=5, max_tokens=5)])
    assert without_sums(fine) == without_sums(alone)


class Panic(BaseException):
    """What a panic of llguidance is to Python."""


@pytest.mark.parametrize("where", ["fill", "__init__"])
@pytest.mark.parametrize("kind", [MemoryError, Panic])
def test_masks_that_cannot_be_computed_fail_those_who_need_them_and_nobody_else(
    where: str, kind: type[BaseException]
) -> None:
    with patch(f"engine.grammar.executor.MaskExecutor.{where}", side_effect=kind):
        (failed, fine), _ = told(FakeBackend(endless=False), [asked("A+B"), asked(None, max_tokens=4)])
    assert failed[-1].error is not None
    assert fine[-1].error is None


def test_a_matcher_that_fails_ends_its_own_request() -> None:
    with patch.object(Matcher, "forced", side_effect=RuntimeError("injected")):
        (failed, fine), _ = told(FakeBackend(endless=False), [asked("A+B"), asked(None, max_tokens=4)])
    assert isinstance(failed[-1].error, InternalError)
    assert fine[-1].error is None


def test_a_step_waits_for_a_mask_that_is_late_and_counts_it(monkeypatch: pytest.MonkeyPatch) -> None:
    masks, waits = Masks(2, N_VOCAB), threading.Event()
    fill = "engine.grammar.executor.MaskExecutor.fill"

    def held_up(_: object, jobs: Any, array: Any) -> None:
        assert waits.wait(60)
        array[jobs[0][1]] = 5

    monkeypatch.setattr(fill, held_up)
    (sequence,) = asked("A+").sequences
    sequence.slot = 1
    masks.start([sequence])
    reader = threading.Thread(target=masks.wait)
    reader.start()
    while masks.n_late == 0:  # the reader has found that it must wait
        pass
    waits.set()
    reader.join()
    assert masks.wait()[1].tolist() == [5]
    assert (masks.n_steps, masks.n_late) == (1, 1)
    masks.close()


def test_who_asks_for_no_form_starts_no_thread() -> None:
    _, steps = told(FakeBackend(endless=False), [asked(None)])
    assert steps._masks._thread is None


def expected(choices: list[str], prompt: list[int]) -> dict[str, float]:
    """Return the model's probability of each string, renormalised token by token over those that fit."""
    backend = FakeBackend(endless=False)
    found = dict.fromkeys(choices, 0.0)

    def walk(text: str, chance: float) -> None:
        row = backend.row([*prompt, *(ord(letter) - 64 for letter in text)]).astype(np.float64)
        nexts = {choice[len(text)] for choice in choices if choice.startswith(text) and choice != text}
        tokens = {ord(letter) - 64: letter for letter in nexts} | ({END: ""} if text in found else {})
        weights = {token: math.exp(row[token] - max(row[other] for other in tokens)) for token in tokens}
        for token, letter in tokens.items():
            part = chance * weights[token] / sum(weights.values())
            if token == END:
                found[text] += part
            else:
                walk(text + letter, part)

    walk("", 1.0)
    return found


def test_choices_are_drawn_with_the_models_own_probabilities() -> None:
    choices, tokens = ["AB", "ABC", "C", "DEF", "DE", "ABCDEFGH"], [3, 1, 2]
    form = compiler().compile(Form("choice", json.dumps(choices)))
    backend = FakeBackend(n_slots=64, n_cells=4096, n_batch=512, endless=False)
    prompts = []
    for seed in range(40):
        made = Prompt(object(), tokens, 3)
        params = SamplingParams(seed=seed)
        made.sequences += [
            Sequence(
                made,
                i,
                params,
                max_tokens=20,
                stop=StopRules(frozenset({END})),
                rng_stream=i,
                matcher=form.copy(),
            )
            for i in range(64)
        ]
        prompts.append(made)
    deltas, _ = told(backend, prompts)
    drawn = Counter(text for each in deltas for text in texts(each))
    chances = expected(choices, tokens)
    assert sum(chances.values()) == pytest.approx(1)
    likely = [choice for choice in choices if chances[choice] * drawn.total() > 5]
    assert len(likely) > 3
    seen = [drawn[choice] for choice in likely]
    wanted = np.array([chances[choice] for choice in likely])
    wanted *= sum(seen) / wanted.sum()
    assert ((seen - wanted) ** 2 / wanted).sum() < chi_square_limit(len(likely) - 1, z=3.1)  # p > 1e-3
