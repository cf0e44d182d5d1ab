"""One choice as a state machine: what is told after each token, and what ends it."""

from __future__ import annotations

import codecs
import math
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.delta import Delta, TokenLogprob
from engine.core.phases import Phase
from engine.core.sequence import Prompt, Sequence, StopRules
from engine.errors import InternalError
from engine.sampling import SamplingParams

if TYPE_CHECKING:
    from engine.core.delta import FinishReason

END = 0
PIECES = [b"<end>", b"a", b"b", b"ab", " 天".encode(), b"\xe5\xa4", b"\xa9!", b"", "🙂".encode()[:3], b"\xff"]
A, B, AB, SKY, HALF, REST, NOTHING, UNFINISHED, INVALID = range(1, 10)
START = 100
"""Characters of the prompt's text, where the offsets begin."""


class Told(NamedTuple):
    """A delta without what every test would repeat: the scores' tokens with their offsets, from 0."""

    text: str
    scores: tuple[tuple[int, int], ...] = ()
    n_tokens: int = 1
    finish_reason: FinishReason | None = None


def sequence(
    *,
    max_tokens: int = 8,
    strings: tuple[str, ...] = (),
    keep: bool = False,
    min_tokens: int = 0,
    logprobs: int | None = 1,
    shows_tokens: bool = False,
) -> Sequence:
    prompt = Prompt("request", [7, 8, 9], START, shows_tokens=shows_tokens)
    made = Sequence(
        prompt,
        choice=3,
        params=SamplingParams(seed=1, logprobs=logprobs),
        max_tokens=max_tokens,
        stop=StopRules(frozenset({END}), strings, keep, min_tokens),
    )
    made.move_to(Phase.PREFILL)
    made.move_to(Phase.DECODE)
    return made


def advance(sequence: Sequence, token: int) -> Delta | None:
    """Advance by a token whose logprob tells its position."""
    position = len(sequence.generated)
    sequence.take(token)
    return sequence.tell(-float(position), ((token, -float(position)),), PIECES.__getitem__)


def run(sequence: Sequence, tokens: list[int]) -> list[Delta | None]:
    """Advance token by token, checking what holds for every delta."""
    deltas: list[Delta | None] = []
    for token in tokens:
        assert not deltas or not is_last(deltas[-1]), "nothing may follow the end"
        delta = advance(sequence, token)
        assert (sequence.phase is Phase.FINISHED) == is_last(delta)
        assert delta is None or (delta.choice, delta.error) == (3, None)
        deltas.append(delta)
    return deltas


def is_last(delta: Delta | None) -> bool:
    return delta is not None and delta.is_last


def told(delta: Delta | None) -> Told | None:
    if delta is None:
        return None
    scores = tuple((score.token, score.offset - START) for score in delta.scores)
    return Told(delta.text, scores, delta.n_tokens, delta.finish_reason)


@pytest.mark.parametrize(
    ("tokens", "options", "expected"),
    [
        pytest.param(
            [A, AB, END],
            {},
            [Told("a", ((A, 0),)), Told("ab", ((AB, 1),)), Told("", ((END, 3),), 1, "stop")],
            id="the end token has an entry at the end of the text, and no text",
        ),
        pytest.param([END], {}, [Told("", ((END, 0),), 1, "stop")], id="the end token comes first"),
        pytest.param(
            [A, B],
            {"max_tokens": 2},
            [Told("a", ((A, 0),)), Told("b", ((B, 1),), 1, "length")],
            id="length",
        ),
        pytest.param([SKY], {"max_tokens": 1}, [Told(" 天", ((SKY, 0),), 1, "length")], id="one token"),
        pytest.param([END], {"max_tokens": 1}, [Told("", ((END, 0),), 1, "stop")], id="one token, the end"),
        pytest.param(
            [A, B],
            {"max_tokens": 2, "strings": ("b",)},
            [Told("a", ((A, 0),)), Told("", (), 1, "stop")],
            id="a stop string in the last allowed token is a stop",
        ),
        pytest.param(
            [A, A],
            {"max_tokens": 2, "strings": ("ab",)},
            [None, Told("aa", ((A, 0), (A, 1)), 2, "length")],
            id="what was held back is told at the length",
        ),
        pytest.param(
            [B, A, END],
            {"strings": ("ab",)},
            [Told("b", ((B, 0),)), None, Told("a", ((A, 1), (END, 2)), 2, "stop")],
            id="what was held back is told at the end token",
        ),
        pytest.param(
            [B, A, B],
            {"strings": ("ab",)},
            [Told("b", ((B, 0),)), None, Told("", (), 2, "stop")],
            id="a stop string of two whole tokens: neither is told",
        ),
        pytest.param(
            [AB, A, B],
            {"strings": ("ba",)},
            [Told("a", ((AB, 0),)), Told("", (), 1, "stop")],
            id="a token of which a part is text keeps its entry",
        ),
        pytest.param(
            [AB, B],
            {"strings": ("bb",), "keep": True},
            [Told("a", ((AB, 0),)), Told("bb", ((B, 2),), 1, "stop")],
            id="the stop string is kept with its tokens",
        ),
        pytest.param(
            [A, END],
            {"keep": True},
            [Told("a", ((A, 0),)), Told("<end>", ((END, 1),), 1, "stop")],
            id="the token that ended the choice is kept",
        ),
        pytest.param(
            [AB, B, AB],
            {"strings": ("ab",), "min_tokens": 2},
            [None, Told("abb", ((AB, 0), (B, 2)), 2), Told("", (), 1, "stop")],
            id="a stop string that comes too early is text",
        ),
        pytest.param(
            [A, B],
            {"strings": ("ab",), "min_tokens": 1},
            [None, Told("", (), 2, "stop")],
            id="a stop string that begins too early, and ends in time",
        ),
        pytest.param(
            [A, HALF, REST],
            {},
            [Told("a", ((A, 0),)), None, Told("天!", ((HALF, 1), (REST, 1)), 2)],
            id="halves of a character begin where it begins, and are told with it",
        ),
        pytest.param(
            [HALF, REST],
            {"strings": ("!",)},
            [None, Told("天", ((HALF, 0), (REST, 0)), 2, "stop")],
            id="a stop string behind the second half of a character",
        ),
        pytest.param(
            [A, UNFINISHED],
            {"max_tokens": 2},
            [Told("a", ((A, 0),)), Told("", ((UNFINISHED, 1),), 1, "length")],
            id="an unfinished character gives no text, and its token an entry",
        ),
        pytest.param(
            [NOTHING, A],
            {},
            [None, Told("a", ((NOTHING, 0), (A, 0)), 2)],
            id="a token without text is told with the next",
        ),
        pytest.param([INVALID], {}, [Told("\ufffd", ((INVALID, 0),))], id="a byte that is no text"),
        pytest.param(
            [A, B, END],
            {"logprobs": None},
            [Told("a"), Told("b"), Told("", (), 1, "stop")],
            id="no entries where none were asked for",
        ),
    ],
)
def test_what_each_token_tells(
    tokens: list[int], options: dict[str, object], expected: list[Told | None]
) -> None:
    deltas = run(sequence(**options), tokens[: len(expected)])  # type: ignore[arg-type]
    assert [told(delta) for delta in deltas] == expected


def test_a_score_is_what_the_sampler_said() -> None:
    choice = sequence(logprobs=2)
    choice.take(A)
    delta = choice.tell(-0.5, ((B, -0.25), (A, -0.5)), PIECES.__getitem__)
    assert delta is not None
    assert delta.scores == (TokenLogprob(A, START, -0.5, ((B, -0.25), (A, -0.5))),)


def test_an_end_token_that_is_not_this_model_s_is_text() -> None:
    prompt = Prompt("request", [1], 0)
    plain = Sequence(prompt, 0, SamplingParams(seed=1), max_tokens=2, stop=StopRules())
    assert told(advance(plain, END)) == Told("<end>")


def test_no_token_that_ends_a_choice_can_be_drawn_too_early() -> None:
    choice = sequence(min_tokens=2)
    bans = []
    for token in (A, B, A):
        bans.append(dict(choice.sampling.logit_bias))
        advance(choice, token)
    assert bans == [{END: -math.inf}, {END: -math.inf}, {}]
    assert choice.sampling is choice.params


def test_a_delta_adds_up_the_logprobs_of_its_tokens() -> None:
    choice = sequence(strings=("aab",), logprobs=0)
    assert [advance(choice, token) for token in (A, A)] == [None, None]
    delta = advance(choice, A)
    assert delta is not None
    assert (delta.n_tokens, delta.logprob) == (3, -3.0)


def test_an_error_ends_the_choice_and_counts_its_untold_tokens() -> None:
    failing, error = sequence(strings=("ab",)), InternalError("no token can be drawn")
    assert run(failing, [A]) == [None]
    assert failing.fail(error) == Delta(3, "", (), 1, 0.0, error=error)
    assert failing.phase is Phase.FINISHED


@given(
    st.lists(st.integers(END, INVALID), min_size=1, max_size=12),
    st.lists(st.text(st.sampled_from("ab天!"), min_size=1, max_size=3), max_size=2).map(tuple),
    st.booleans(),
)
def test_deltas_joined_are_the_whole(tokens: list[int], strings: tuple[str, ...], keep: bool) -> None:
    choice = sequence(max_tokens=len(tokens), strings=strings, keep=keep)
    deltas: list[Delta] = []
    for token in tokens:
        delta = advance(choice, token)
        deltas += [delta] if delta is not None else []
        text = "".join(delta.text for delta in deltas)
        scores = [score for delta in deltas for score in delta.scores]
        if choice.phase is Phase.FINISHED:
            break
        # In mid-stream: an entry is told exactly when its token's first character is.
        offsets = [START, *(START + len(decoded(tokens[: i + 1])) for i in range(len(choice.generated)))]
        assert len(scores) == sum(offset < START + len(text) for offset in offsets[:-1])
    taken = choice.generated
    assert choice.phase is Phase.FINISHED
    assert [delta.is_last for delta in deltas] == [False] * (len(deltas) - 1) + [True]
    assert sum(delta.n_tokens for delta in deltas) == len(taken)
    assert [score.token for score in scores] == taken[: len(scores)]
    assert [score.logprob for score in scores] == [-float(i) for i in range(len(scores))]
    full = decoded([token for token in taken if keep or token != END])
    assert full.startswith(text)
    if deltas[-1].finish_reason == "length" or taken[-1] == END:
        assert text == full
        assert len(scores) == len(taken)
    else:
        assert any(full[len(text) - (len(stop) if keep else 0) :].startswith(stop) for stop in strings)
        assert all(score.offset < START + len(text) for score in scores)


@given(
    st.lists(st.integers(END, INVALID), min_size=1, max_size=12),
    st.lists(st.text(st.sampled_from("ab天!"), min_size=1, max_size=3), max_size=2).map(tuple),
    st.booleans(),
)
def test_a_choice_that_is_told_at_once_is_the_parts_joined(
    tokens: list[int], strings: tuple[str, ...], keep: bool
) -> None:
    in_parts = sequence(max_tokens=len(tokens), strings=strings, keep=keep)
    at_once = sequence(max_tokens=len(tokens), strings=strings, keep=keep)
    at_once.prompt.in_parts = False
    parts: list[Delta] = []
    for token in tokens:
        part, whole = advance(in_parts, token), advance(at_once, token)
        parts += [part] if part is not None else []
        if in_parts.phase is Phase.FINISHED:
            break
        assert whole is None
    assert whole == Delta(
        3,
        "".join(part.text for part in parts),
        tuple(score for part in parts for score in part.scores),
        sum(part.n_tokens for part in parts),
        sum(part.logprob for part in parts),
        parts[-1].finish_reason,
    )


@given(
    st.lists(st.integers(END, INVALID), min_size=1, max_size=12),
    st.lists(st.text(st.sampled_from("ab天!"), min_size=1, max_size=3), max_size=2).map(tuple),
    st.booleans(),
)
def test_deltas_that_show_tokens_have_the_text_of_whole_tokens(
    tokens: list[int], strings: tuple[str, ...], keep: bool
) -> None:
    choice = sequence(max_tokens=len(tokens), strings=strings, keep=keep, shows_tokens=True)
    plain = sequence(max_tokens=len(tokens), strings=strings, keep=keep)
    shown: list[Delta] = []
    wanted: list[Delta] = []
    for token in tokens:
        shown += [delta for delta in [advance(choice, token)] if delta is not None]
        wanted += [delta for delta in [advance(plain, token)] if delta is not None]
        if choice.phase is Phase.FINISHED:
            break
        told = [token for delta in shown for token in delta.tokens]
        assert "".join(delta.text for delta in shown) == decoded(told)
        assert [score.token for delta in shown for score in delta.scores] == told
        held = sum(delta.n_tokens for delta in wanted) - len(told)
        assert not held or strings, "only a stop string that may come holds tokens back"
    assert [token for delta in shown for token in delta.tokens] == choice.generated
    assert [len(delta.tokens) for delta in shown] == [delta.n_tokens for delta in shown]
    for name in ("text", "scores"):
        assert [*chain(*(getattr(delta, name) for delta in shown))] == [
            *chain(*(getattr(delta, name) for delta in wanted))
        ]
    assert sum(delta.logprob for delta in shown) == sum(delta.logprob for delta in wanted)
    assert shown[-1].finish_reason == wanted[-1].finish_reason


def decoded(tokens: list[int]) -> str:
    """Decode what tokens add, without a character that is not whole yet."""
    return codecs.getincrementaldecoder("utf-8")("replace").decode(
        b"".join(PIECES[token] for token in tokens)
    )
