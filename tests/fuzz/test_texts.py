"""The text of a choice, token by token, beside what the same rules say of the joined bytes."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import example, given
from hypothesis import strategies as st

from engine.core.text import TextStream
from tests.fuzz.effort import examples

LETTERS = "ab天é🙂\ufffd\0"
BYTES = [
    *(letter.encode() for letter in LETTERS),
    *b"\xe5 \xa4 \xa9 \xf0 \x9f \xff \xed\xa0 \xc0 \xf4\x90".split(b" "),
]


class Case(NamedTuple):
    """A choice: what ends it, and the bytes of its tokens."""

    stops: tuple[str, ...]
    tokens: list[bytes]
    min_tokens: int
    """Stops that end before so many tokens do not count."""
    half: bytes
    """The first bytes of a character that the prompt ends inside."""
    keep_stop: bool


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Draw tokens of few letters and of parts of them, and stops cut from their text."""
    tokens = draw(st.lists(st.lists(st.sampled_from(BYTES), max_size=4).map(b"".join), max_size=12))
    half = draw(st.sampled_from([b"", "天".encode()[:1], "天".encode()[:2], "🙂".encode()[:3]]))
    text = _characters(half + b"".join(tokens))
    stops = st.text(LETTERS, min_size=1, max_size=4)
    if text:
        begins = st.integers(0, len(text) - 1)
        stops |= st.tuples(begins, st.integers(1, 6)).map(lambda cut: text[cut[0] : cut[0] + cut[1]])
    return Case(
        tuple(draw(st.lists(stops, max_size=4))), tokens, draw(st.integers(0, 4)), half, draw(st.booleans())
    )


def _characters(raw: bytes) -> str:
    """Decode with ever longer parts; an unfinished character at the end is none, a wrong part is U+FFFD.

    The first two bytes of a surrogate count as unfinished, for Python's decoder waits for the third.
    """
    text, begin = "", 0
    while begin < len(raw) and not _is_half_surrogate(raw[begin:]):
        for end in range(begin + 1, min(begin + 4, len(raw)) + 1):
            try:
                text, begin = text + raw[begin:end].decode(), end
                break
            except UnicodeDecodeError as error:
                if error.reason != "unexpected end of data":
                    text, begin = f"{text}\ufffd", begin + error.end
                    break
        else:
            return text
    return text


def _is_half_surrogate(rest: bytes) -> bool:
    return len(rest) == 2 and b"\xed\xa0" <= rest <= b"\xed\xbf"


def expected(case: Case) -> tuple[str, bool]:
    """Return the text and whether a stop ended it: look for every stop behind every token."""
    raw, before = case.half, 0
    for number, token in enumerate(case.tokens, start=1):
        raw += token
        text = _characters(raw)
        for end in range(before + 1, len(text) + 1):
            found = [stop for stop in case.stops if text[:end].endswith(stop)]
            if found and number > case.min_tokens:
                return text[: end if case.keep_stop else end - max(map(len, found))], True
        before = len(text)
    return _characters(raw), False


@examples(150)
@given(cases())
@example(Case(("天",), ["天".encode()[1:]], 0, "天".encode()[:1], False))
@example(Case(("ab",), [b"ab", b"a", b"b"], 1, b"", False))
def test_the_text_of_tokens_is_that_of_their_joined_bytes(case: Case) -> None:
    stream = TextStream(case.stops, start=7, keep_stop=case.keep_stop, half=case.half)
    text, is_stopped = expected(case)
    heard = ""
    for number, token in enumerate(case.tokens, start=1):
        heard += stream.push(token, may_stop=number > case.min_tokens)
        assert text.startswith(heard), "what was told stays true"
        assert stream.released == 7 + len(heard)
    heard += stream.finish()
    assert (heard, stream.stopped) == (text, is_stopped)
    assert stream.released == stream.offset == 7 + len(text)
