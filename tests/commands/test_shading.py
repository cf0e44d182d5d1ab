"""Tokens shaded by probability: nothing of the text is lost, and nothing of it steers the terminal."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from engine.commands.shading import ShadedText, is_shaded, legend, style_of
from engine.commands.terminal import harmless
from engine.contract.responses import Choice, Logprobs

PIECES = st.lists(st.tuples(st.text(max_size=4), st.floats(-20, 0)), min_size=1, max_size=12)


def choice(pieces: list[tuple[str, float]], start: int) -> Choice:
    offsets = [start + sum(len(text) for text, _ in pieces[:i]) for i in range(len(pieces))]
    logprobs = Logprobs(
        tokens=[text for text, _ in pieces],
        token_logprobs=[logprob for _, logprob in pieces],
        top_logprobs=None,
        text_offset=offsets,
        scores=(),
        token_bytes=[],
    )
    return Choice(text="".join(text for text, _ in pieces), index=0, logprobs=logprobs)


@given(st.lists(PIECES, min_size=1, max_size=4), st.integers(0, 1000))
def test_the_pieces_of_a_stream_are_its_text(chunks: list[list[tuple[str, float]]], start: int) -> None:
    shades, end = ShadedText(), start
    for pieces in chunks:
        one = choice(pieces, end)
        assert shades.piece(one).plain == harmless(one.text)
        end += len(one.text)


@given(PIECES, st.integers(0, 10))
def test_a_token_keeps_its_shade_where_a_stop_cuts_the_text(
    pieces: list[tuple[str, float]], cut: int
) -> None:
    whole = choice(pieces, 0)
    one = whole.model_copy(update={"text": whole.text[:cut]})
    shaded = ShadedText().piece(one)
    assert shaded.plain == harmless(one.text)
    for span in shaded.spans:
        at = next(
            i for i, (text, _) in enumerate(pieces) if sum(len(t) for t, _ in pieces[: i + 1]) > span.start
        )
        assert span.style == style_of(pieces[at][1])


def test_the_less_probable_the_darker() -> None:
    probable = [1.0, 0.9, 0.6, 0.3, 0.1, 0.01]
    assert [style_of(math.log(p)) for p in (1.0, 0.95)] == ["", ""]
    assert len({style_of(math.log(p)) for p in probable}) == 5
    assert style_of(None) == ""
    assert "below 5%" in legend().plain


def test_shades_need_a_terminal_with_colours() -> None:
    assert is_shaded(Console(force_terminal=True, color_system="truecolor"))
    assert not is_shaded(Console(force_terminal=True, color_system="truecolor", no_color=True))
    assert not is_shaded(Console(force_terminal=False))


def test_control_characters_are_shown() -> None:
    assert harmless("a\x1b[2Jb\r\n\tc\x7f\x9b") == "a␛[2Jb␍\n\tc␡\ufffd"
