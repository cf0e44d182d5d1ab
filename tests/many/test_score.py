"""``score``: the log-probability of each token of a text, also of one that is longer than the context."""

from __future__ import annotations

import json
import math
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import AsyncLLM
from engine.errors import ContextLengthError, InvalidRequestError, UnavailableError
from engine.many.scoring import Score
from tests.core.fake_backend import N_VOCAB, POISON
from tests.many.conftest import engine_behind, quick_llm
from tests.quick import AnyText
from tests.sampler.oracle import logprobs as log_softmax

if TYPE_CHECKING:
    from collections.abc import Iterator

    from engine import LLM
    from engine.service.service import CompletionService

CONTEXT, BOS = 24, 0
TEXT = "It was the best of times, it was the worst of times."


@contextmanager
def small_llm(bos: int | None = None) -> Iterator[LLM]:
    backend = AnyText(n_cells=CONTEXT)
    backend.info = replace(backend.info, bos_token=bos)
    with quick_llm(backend) as llm:
        yield llm


@pytest.fixture(scope="module")
def llm() -> Iterator[LLM]:
    with small_llm() as small:
        yield small


@pytest.fixture(scope="module")
def llm_with_bos() -> Iterator[LLM]:
    with small_llm(BOS) as small:
        yield small


def log_probability(before: list[int], token: int) -> float:
    row = AnyText(n_cells=CONTEXT).row(before)
    return float(log_softmax(row[None])[0, token])


def sliding_window(tokens: list[int], window: int, stride: int) -> list[float | None]:
    """Score tokens as Hugging Face's page on perplexity does, each in the first window that has it."""
    logprobs: list[float | None] = [None] * len(tokens)
    for begin in range(0, len(tokens), stride):
        for place in range(begin + 1, min(begin + window, len(tokens))):
            if logprobs[place] is None:
                logprobs[place] = log_probability(tokens[begin:place], tokens[place])
    return logprobs


TOKENS = st.lists(st.integers(1, POISON - 1), min_size=1, max_size=70)
SIZES = st.integers(2, CONTEXT).flatmap(lambda window: st.tuples(st.just(window), st.integers(1, window - 1)))


@settings(max_examples=60, derandomize=True, deadline=None, database=None)
@given(TOKENS, SIZES)
def test_each_token_counts_once_in_the_first_window_that_has_it(
    llm: LLM, tokens: list[int], sizes: tuple[int, int]
) -> None:
    window, stride = sizes
    (score,) = llm.score([tokens], window=window, stride=stride)
    expected = sliding_window(tokens, window, stride)
    assert score.token_ids == tokens
    assert score.token_logprobs[0] is None
    assert score.token_logprobs[1:] == [pytest.approx(logprob, abs=4e-6) for logprob in expected[1:]]
    assert score.count == len(tokens) - 1
    assert score.sum == pytest.approx(sum(filter(None, expected)))


@settings(max_examples=50, derandomize=True, deadline=None, database=None)
@given(TOKENS, SIZES)
def test_each_window_begins_with_the_token_that_begins_a_text(
    llm_with_bos: LLM, tokens: list[int], sizes: tuple[int, int]
) -> None:
    window, stride = sizes
    (score,) = llm_with_bos.score([[BOS, *tokens]], window=window, stride=stride)
    begin, scored = 0, 0
    while scored < len(tokens):
        end = min(begin + window - 1, len(tokens))
        for place in range(scored, end):
            before = [BOS, *tokens[begin:place]]
            assert score.token_logprobs[place + 1] == pytest.approx(
                log_probability(before, tokens[place]), abs=4e-6
            )
        begin, scored = begin + stride, end
    assert score.count == len(tokens)


def test_by_default_the_window_is_the_context_and_moves_by_half(llm: LLM) -> None:
    tokens = [1 + place % 7 for place in range(60)]
    assert llm.score([tokens]) == llm.score([tokens], window=CONTEXT, stride=CONTEXT // 2)
    assert llm.score([tokens]) != llm.score([tokens], stride=CONTEXT // 2 - 1)


def test_a_smaller_stride_asks_for_more_work(llm: LLM) -> None:
    totals, tokens = engine_behind(llm).totals, [1 + place % 5 for place in range(60)]
    before = totals.prompt_tokens
    llm.score([tokens], window=20, stride=19)
    between = totals.prompt_tokens
    llm.score([tokens], window=20, stride=1)
    assert totals.prompt_tokens - between > 5 * (between - before) > 0


def test_the_numbers_of_a_score_belong_together() -> None:
    score = Score(
        text="abc",
        tokens=["a", "b", "c"],
        token_ids=[1, 2, 3],
        token_logprobs=[None, math.log(1 / 2), math.log(1 / 8)],
        token_bytes=[b"a", b"b", b"c"],
    )
    assert score.count == 2
    assert score.sum == pytest.approx(math.log(1 / 16))
    assert score.mean == pytest.approx(math.log(1 / 4))
    assert score.perplexity == pytest.approx(4)
    written = json.loads(score.model_dump_json())
    assert written.keys() == {
        *("text", "tokens", "token_ids", "token_logprobs"),
        *("count", "sum", "mean", "perplexity"),
    }
    impossible = score.model_copy(update={"token_logprobs": [None, -9999.0, -9999.0]})
    assert impossible.perplexity == math.inf


def test_a_text_without_anything_to_score_has_no_perplexity(llm: LLM) -> None:
    for score in llm.score([[], [5], ""]):
        assert (score.count, score.sum) == (0, 0.0)
        assert math.isnan(score.mean)
        assert math.isnan(score.perplexity)
        assert json.loads(score.model_dump_json())["perplexity"] is None
        assert "perplexity" in score._repr_html_()


def test_texts_are_scored_in_order_and_taken_when_there_is_room(llm: LLM) -> None:
    scores = llm.score(text for text in ["A" * 30, "B", "C" * 50, "D"])
    assert [score.text for score in scores] == ["A" * 30, "B", "C" * 50, "D"]
    assert [score.text for score in llm.score("ABC")] == ["ABC"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"window": 1}, f"'window' should be an integer from 2 to {CONTEXT}, not 1"),
        ({"window": CONTEXT + 1}, f"'window' should be an integer from 2 to {CONTEXT}, not {CONTEXT + 1}"),
        ({"window": True}, "'window' should be an integer"),
        ({"stride": 0}, f"'stride' should be an integer from 1 to {CONTEXT - 1}, not 0"),
        ({"window": 8, "stride": 8}, "'stride' should be an integer from 1 to 7, not 8"),
        ({"stride": 1.5}, "'stride' should be an integer"),
    ],
)
def test_a_window_that_cannot_be_is_refused(llm: LLM, arguments: Any, message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        llm.score(["A"], **arguments)


@pytest.mark.parametrize("text", ["\ud800", [1, N_VOCAB], [1, "2"], [-1], None, 5])
def test_a_text_that_cannot_be_scored_is_named_by_its_number(llm: LLM, text: Any) -> None:
    texts: Any = ["A", "B", text, "C"]
    with pytest.raises(InvalidRequestError, match=r"^texts\[2\]: ") as caught:
        llm.score(texts)
    assert caught.value.param == "texts"
    assert not isinstance(caught.value, ContextLengthError)


def test_a_closed_model_says_so() -> None:
    with small_llm() as llm:
        llm.close()
        with pytest.raises(UnavailableError):
            llm.score(["A"])


def test_progress_is_the_share_of_the_text(llm: LLM, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[float] = []
    monkeypatch.setattr("engine.many.progress.Bar.show", lambda _, done, __: shown.append(round(done, 2)))
    llm.score([[1 + place % 5 for place in range(24 + 5 * 12)]])
    assert shown[-1] == 1
    assert 0 < shown[0] < 1
    assert shown == sorted(shown)


async def test_scores_are_those_of_an_echoed_prompt(service: CompletionService) -> None:
    llm = AsyncLLM.of(service)
    (score,) = await llm.score([TEXT])
    echoed = await llm.complete(prompt=TEXT, max_tokens=0, echo=True, logprobs=0)
    logprobs = echoed.choices[0].logprobs
    assert logprobs is not None
    assert (score.tokens, score.token_ids) == (logprobs.tokens, logprobs.token_ids)
    assert score.token_logprobs == logprobs.token_logprobs
    assert 5 < score.perplexity < 50  # Dickens is known by heart
    (nonsense,) = await llm.score([TEXT[::-1]])
    assert nonsense.perplexity > 10 * score.perplexity
    assert await llm.score([TEXT] * 5) == [score] * 5
