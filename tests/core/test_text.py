"""Incremental text: whatever the cuts between tokens, the same characters and the same stop."""

from __future__ import annotations

import codecs
from itertools import pairwise
from typing import NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.core.text import TextStream

TEXTS = st.one_of(
    st.text(st.sampled_from("ab天é🙂"), max_size=24),  # few letters, so that stop strings are met
    st.text(st.characters(exclude_categories=["Cs"]), max_size=24),
)
STOPS = st.lists(
    st.one_of(
        st.text(st.sampled_from("ab天é🙂"), min_size=1, max_size=4),
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=2),
    ),
    max_size=4,
).map(tuple)
BYTES = st.one_of(
    st.binary(max_size=24),
    st.lists(
        st.sampled_from([b"a", b"b", b"\xe5", b"\xa4", b"\xa9", b"\xf0\x9f", b"\xff", b"\xed\xa0"]),
        max_size=24,
    ).map(b"".join),
)
CUTS = st.lists(st.integers(0, 96), max_size=24)


class Told(NamedTuple):
    """What a stream has told in the end."""

    text: str
    stopped: bool


def cut(raw: bytes, cuts: list[int]) -> list[bytes]:
    """Cut bytes at positions in any order; equal positions give empty pieces."""
    borders = [0, *sorted(min(position, len(raw)) for position in cuts), len(raw)]
    return [raw[begin:end] for begin, end in pairwise(borders)]


def single_bytes(raw: bytes) -> list[bytes]:
    return [raw[i : i + 1] for i in range(len(raw))]


def told(pieces: list[bytes], stops: tuple[str, ...], *, keep_stop: bool = False) -> Told:
    stream = TextStream(stops, keep_stop=keep_stop)
    text = "".join(map(stream.push, pieces))
    return Told(text if stream.stopped else text + stream.finish(), stream.stopped)


def whole(raw: bytes) -> str:
    """Decode at once; an unfinished character at the end is no character."""
    return codecs.getincrementaldecoder("utf-8")("replace").decode(raw)


def reference(text: str, stops: tuple[str, ...], *, keep_stop: bool = False) -> Told:
    """Read character by character: the stop complete first ends it; of those ending together, the longest."""
    for end in range(1, len(text) + 1):
        complete = [stop for stop in stops if text[:end].endswith(stop)]
        if complete:
            return Told(text[:end] if keep_stop else text[: end - max(map(len, complete))], True)
    return Told(text, False)


@given(TEXTS, CUTS, STOPS, st.booleans())
@example("aab", [1, 2], ("aab", "ab", "b"), False)
@example("天天", [1, 2, 4], ("天天",), True)
def test_any_cut_tells_what_the_whole_text_tells(
    text: str, cuts: list[int], stops: tuple[str, ...], keep_stop: bool
) -> None:
    raw = text.encode()
    expected = reference(text, stops, keep_stop=keep_stop)
    assert told(cut(raw, cuts), stops, keep_stop=keep_stop) == expected
    assert told(single_bytes(raw), stops, keep_stop=keep_stop) == expected


@given(BYTES, CUTS, STOPS)
@example(b"\xf0\x9f\x99", [1], ())
@example(b"a\xed\xa0\x80b", [2, 3], ())
@example(b"\xf0\x80\x80\x80", [1, 2, 3], ("\ufffd\ufffd",))
def test_bytes_that_are_no_text_are_replaced_as_in_the_whole(
    raw: bytes, cuts: list[int], stops: tuple[str, ...]
) -> None:
    expected = reference(whole(raw), stops)
    assert told(cut(raw, cuts), stops) == expected
    assert told(single_bytes(raw), stops) == expected


@given(TEXTS, CUTS, STOPS, st.integers(0, 1000))
def test_everything_safe_is_told_at_once_and_nothing_else(
    text: str, cuts: list[int], stops: tuple[str, ...], start: int
) -> None:
    stream, read, heard = TextStream(stops, start=start), b"", ""
    for piece in cut(text.encode(), cuts):
        if stream.stopped:
            break
        read += piece
        heard += stream.push(piece)
        known = reference(read.decode("utf-8", "ignore"), stops)
        assert stream.stopped == known.stopped
        assert heard == (known.text if known.stopped else known.text[: safe_length(known.text, stops)])
        assert "\ufffd" not in heard or "\ufffd" in text
        assert stream.released == start + len(heard)
        assert stream.offset == start + len(known.text)


def safe_length(text: str, stops: tuple[str, ...]) -> int:
    """The length of ``text`` without its longest end that begins a stop string."""
    unsafe = (n for stop in stops for n in range(1, len(stop)) if text.endswith(stop[:n]))
    return len(text) - max(unsafe, default=0)


@settings(max_examples=60)
@given(STOPS, st.lists(TEXTS, max_size=30))
def test_what_is_held_back_is_shorter_than_the_longest_stop(stops: tuple[str, ...], texts: list[str]) -> None:
    """What is copied for a token is what is held and the piece, so this bounds it at any length."""
    stream = TextStream(stops)
    for text in texts:
        stream.push(text.encode())
        held = stream.offset - stream.released
        assert held <= max(0, max(map(len, stops), default=1) - 1)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        pytest.param(b"a\xffb", "a\ufffdb", id="never a byte of UTF-8"),
        pytest.param(b"\xe5\xa4a", "\ufffda", id="a character cut short"),
        pytest.param(b"\xa4\xa9a", "\ufffd\ufffda", id="no first byte"),
        pytest.param(b"\xed\xa0\x80a", "\ufffd\ufffd\ufffda", id="a surrogate"),
        pytest.param(b"\xc0\xafa", "\ufffd\ufffda", id="an overlong form"),
        pytest.param(b"\xf4\x90\x80\x80a", "\ufffd" * 4 + "a", id="beyond Unicode"),
        pytest.param(b"\xf0\x9f\xe5\xa4\xa9", "\ufffd天", id="cut short by another character"),
    ],
)
def test_invalid_bytes(raw: bytes, text: str) -> None:
    assert told([raw], ()) == told(single_bytes(raw), ()) == Told(text, False)


def test_half_a_character_is_never_told() -> None:
    stream = TextStream()
    assert [stream.push(piece) for piece in single_bytes("a天🙂".encode())] == [
        *("a", "", "", "天"),
        *("", "", "", "🙂"),
    ]


def test_an_unfinished_character_at_the_end_is_dropped() -> None:
    stream = TextStream(("xyz",))
    assert stream.push("ab天".encode()[:-1]) == "ab"
    assert stream.finish() == ""
    assert stream.offset == stream.released == 2


def test_the_beginning_of_a_stop_is_told_when_the_rest_does_not_come() -> None:
    stream = TextStream(("stop",))
    assert stream.push(b"a st") == "a "
    assert stream.push(b"o") == ""
    assert (stream.released, stream.offset) == (2, 5)
    assert stream.push(b"st") == "sto"  # the second "st" may begin it again
    assert stream.finish() == "st"
    assert not stream.stopped


def test_what_was_told_at_the_finish_begins_no_stop() -> None:
    stream = TextStream(("stop",), start=1)
    assert (stream.push(b"st"), stream.finish(), stream.push(b"op")) == ("", "st", "op")
    assert (stream.released, stream.offset, stream.stopped) == (5, 5, False)


@pytest.mark.parametrize(
    ("pieces", "stops", "kept", "dropped"),
    [
        pytest.param(["one\n", "\ntwo"], ("\n\n",), "one\n\n", "one", id="over a token border"),
        pytest.param(["abcd"], ("cd", "bc"), "abc", "a", id="complete first, not beginning first"),
        pytest.param(["abcde"], ("abcde", "bc"), "abc", "a", id="complete first, though inside a longer one"),
        pytest.param(["xab", "c"], ("bc", "abc", "c"), "xabc", "x", id="longest of those ending together"),
        pytest.param(["stop"], ("stop",), "stop", "", id="nothing before"),
        pytest.param(["a", "stop", "b"], ("stop",), "astop", "a", id="exactly one token"),
        pytest.param(["aXbXc"], ("X",), "aX", "a", id="first of two occurrences"),
        pytest.param(["a aab"], ("aab",), "a aab", "a ", id="its own beginning just before"),
    ],
)
def test_stop(pieces: list[str], stops: tuple[str, ...], kept: str, dropped: str) -> None:
    raw = [piece.encode() for piece in pieces]
    assert told(raw, stops) == Told(dropped, True)
    assert told(raw, stops, keep_stop=True) == Told(kept, True)


@pytest.mark.parametrize(("keep_stop", "end"), [(False, 12), (True, 14)])
def test_nothing_follows_a_stop(keep_stop: bool, end: int) -> None:
    stream = TextStream(("。。",), start=10, keep_stop=keep_stop)
    stream.push("天é。。 more".encode())
    assert stream.push(b"and more") == ""
    assert stream.finish() == ""
    assert stream.released == stream.offset == end


def test_an_empty_piece_changes_nothing() -> None:
    stream = TextStream(("ab",), start=3)
    assert stream.push(b"xa") == "x"
    assert stream.push(b"") == ""
    assert (stream.released, stream.offset, stream.stopped) == (4, 5, False)
    assert stream.push(b"b") == ""
    assert stream.stopped
