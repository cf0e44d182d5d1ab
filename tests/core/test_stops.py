"""The automaton beside `str.find` over the whole text, and the work it does, counted."""

from __future__ import annotations

import sys
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import engine.core.stops
from engine.core.stops import START, StopMatcher, matcher_of
from engine.core.text import TextStream

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from _typeshed import TraceFunction

LETTERS = st.sampled_from("ab🙂")


class Case(NamedTuple):
    """Stop strings, and the pieces of a text."""

    stops: tuple[str, ...]
    pieces: list[str]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Draw stop strings cut from one word, which so overlap and contain each other, and a text of such."""
    word = draw(st.text(LETTERS, min_size=1, max_size=12))
    part = st.tuples(st.integers(0, len(word)), st.integers(0, len(word))).map(lambda cut: word[slice(*cut)])
    text = "".join(draw(st.lists(st.one_of(part, LETTERS), max_size=12)))
    stops = draw(
        st.lists(st.one_of(part.filter(bool), st.just(word), st.text(LETTERS, min_size=1)), max_size=4)
    )
    return Case(tuple(stops), cut(text, draw(st.lists(st.integers(0, len(text)), max_size=6))))


def cut(text: str, positions: list[int]) -> list[str]:
    return [text[begin:end] for begin, end in pairwise([0, *sorted(positions), len(text)])]


def first_stop(text: str, stops: tuple[str, ...]) -> tuple[int, int] | None:
    """Return (end, length) of the stop string that is complete first; of several, the longest."""
    found = ((text.find(stop), len(stop)) for stop in stops)
    ends = [(begin + length, length) for begin, length in found if begin >= 0]
    return min(ends, key=lambda stop: (stop[0], -stop[1]), default=None)


def longest_beginning(text: str, stops: tuple[str, ...]) -> int:
    """Return the length of the longest end of the text that begins a stop string."""
    return max((n for stop in stops for n in range(len(stop) + 1) if text.endswith(stop[:n])), default=0)


@given(cases())
@example(Case(("abab", "ba"), ["aba", "b"]))  # inside another
@example(Case(("ab", "b", "aab"), ["aa", "b"]))  # ends of each other
@example(Case(("aba", "ab", "ab"), ["ab", "a"]))  # beginnings of each other, and equal
@example(Case(("aaab",), ["aaaa", "b"]))  # its own beginning just before
@example(Case(("ab🙂aba",), ["ab🙂ab", "🙂aba"]))  # a failure that leads far in
@example(Case(("cabxy", "abz", "bx"), ["cabx"]))  # two failures in a row, from the stop that is given first
@example(Case((), ["ab"]))
def test_any_cut_finds_what_is_found_in_the_whole_text(case: Case) -> None:
    matcher, state, read = StopMatcher(case.stops), START, ""
    for piece in case.pieces:
        state, count = matcher.read(state, piece)
        found = first_stop(read + piece, case.stops)
        if found is not None:
            assert (len(read) + count, matcher.matched(state)) == found
            return
        read += piece
        assert count == len(piece)
        assert matcher.matched(state) == 0
        assert matcher.pending(state) == longest_beginning(read, case.stops)


@given(cases())
@example(Case(("ab", "b", "ba"), ["abab"]))
def test_who_reads_on_finds_every_character_that_completes_a_stop(case: Case) -> None:
    matcher, state, text = StopMatcher(case.stops), START, "".join(case.pieces)
    for end in range(1, len(text) + 1):
        state, _ = matcher.read(state, text[end - 1])
        complete = [len(stop) for stop in case.stops if text.endswith(stop, 0, end)]
        assert matcher.matched(state) == max(complete, default=0)
        assert matcher.pending(state) == longest_beginning(text[:end], case.stops)


def test_equal_stops_share_a_matcher_and_each_text_has_its_own_state() -> None:
    assert matcher_of(("a", "b")) is matcher_of(tuple("ab"))
    one, other = TextStream(("ab", "c")), TextStream(("ab", "c"))
    assert [one.push(b"xa"), other.push(b"yb"), one.push(b"b"), other.push(b"a")] == ["x", "yb", "", ""]
    assert (one.stopped, other.stopped) == (True, False)


@pytest.mark.parametrize("stops", [("",), ("a", "")])
def test_an_empty_stop_is_refused(stops: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="must not be empty"):
        StopMatcher(stops)
    with pytest.raises(ValueError, match="must not be empty"):
        TextStream(stops)


LINES_PER_CHARACTER = 30
"""Some more than are needed; with a second look at what was read before it would be hundreds."""


def lines_run(action: Callable[[], object]) -> int:
    """Count the lines of the automaton that an action runs: its work, on any machine."""
    count = 0

    def on_line(frame: FrameType, event: str, argument: object) -> TraceFunction | None:
        nonlocal count
        count += event == "line"
        return on_line

    def on_call(frame: FrameType, event: str, argument: object) -> TraceFunction | None:
        return on_line if frame.f_code.co_filename == engine.core.stops.__file__ else None

    before = sys.gettrace()
    sys.settrace(on_call)
    try:
        action()
    finally:
        sys.settrace(before)
    return count


LONG_STOPS = (
    pytest.param(("a" * 1023 + "b",), id="one"),
    pytest.param(tuple("a" * 1023 + last for last in "bcde"), id="that end differently"),
    pytest.param(tuple("a" * (1020 + n) + "b" * (4 - n) for n in range(4)), id="inside each other"),
    pytest.param(("ab" * 511 + "aa", "ba" * 511 + "bb"), id="that follow each other"),
)


@pytest.mark.parametrize("stops", LONG_STOPS)
@pytest.mark.parametrize(
    "text",
    [
        pytest.param("a" * 5000, id="one step back at every character"),
        pytest.param(("a" * 1000 + "x") * 5, id="all the way back now and then"),
        pytest.param(("ab" * 400 + "b") * 5, id="halfway"),
    ],
)
@pytest.mark.parametrize("length", [1, 7, 5000])
def test_a_character_costs_the_same_whatever_came_before(
    stops: tuple[str, ...], text: str, length: int
) -> None:
    """A failure goes back in what was read before, so there are no more failures than characters."""
    stream = TextStream(stops)
    pieces = [text[begin : begin + length].encode() for begin in range(0, len(text), length)]
    assert lines_run(lambda: [stream.push(piece) for piece in pieces]) <= LINES_PER_CHARACTER * len(text)
    assert not stream.stopped


@pytest.mark.parametrize("stops", LONG_STOPS)
def test_building_costs_the_same_for_every_character_of_the_stops(stops: tuple[str, ...]) -> None:
    assert lines_run(lambda: StopMatcher(stops)) <= LINES_PER_CHARACTER * sum(map(len, stops))
