"""How answers look in a notebook: whatever a model says stays text, and every token has its shade."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.contract.chat_responses import (
    ChatChoice,
    ChatCompletion,
    ChatLogprobs,
    ChatMessage,
    ChatToken,
    TopToken,
)
from engine.contract.display import MAX_SHADED, cut, decoded_to, error_html
from engine.contract.responses import Choice, Completion, Logprobs, Usage
from engine.many.scoring import Score

QUICK = settings(max_examples=60, derandomize=True, deadline=None, database=None)
NASTY = '<script>alert("1")</script>&amp;\'\n<!-- \x00 \u202e </div> ↵'
TEXTS = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from([NASTY, "a\nb", "&lt;"])
LOGPROBS = st.floats(-9999, 0) | st.none()
USAGE = Usage(prompt_tokens=1, completion_tokens=2, total_tokens=3)
HEAD: dict[str, Any] = {"id": "x", "created": 0, "model": "<m>", "usage": USAGE}


class Page(HTMLParser):
    """Reads HTML, and holds it to what a notebook's page is safe with."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text = ""
        self.titles: list[str | None] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in ("div", "span")
        assert {name for name, _ in attrs} <= {"style", "title", "dir"}
        given = dict(attrs)
        assert "url" not in (given.get("style") or "")
        self.titles += [given["title"]] if "title" in given else []
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)


def is_in(text: str, page: Page) -> bool:
    """Return True if the page shows the text; a shaded line break is marked, and parsers drop NUL."""
    return text.replace("↵", "") in page.text.replace("↵", "")


@QUICK
@given(TEXTS, st.lists(st.integers(-3, 30), max_size=8))
def test_the_parts_of_a_text_are_together_the_text(text: str, offsets: list[int]) -> None:
    parts = cut(text, offsets)
    assert len(parts) == len(offsets)
    assert "".join(parts) == (text if offsets else "")


@QUICK
@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=12), st.data())
def test_bytes_that_tokens_share_are_cut_into_the_text_they_are(text: str, data: st.DataObject) -> None:
    raw, tokens = text.encode(), []
    while raw:
        size = data.draw(st.integers(1, len(raw)))
        tokens.append(raw[:size])
        raw = raw[size:]
    assert "".join(decoded_to(text, tokens) or []) == text
    shorter = text[: data.draw(st.integers(0, len(text)))]
    assert "".join(decoded_to(shorter, tokens) or []) == shorter
    assert decoded_to(text + "!", tokens) is None


@st.composite
def completions(draw: st.DrawFn) -> tuple[Completion, list[str]]:
    choices, texts = [], []
    for index in range(draw(st.integers(0, 3))):
        tokens = draw(st.lists(TEXTS, max_size=6))
        logprobs = None
        if draw(st.booleans()):
            offsets, end = [], 7
            for token in tokens:
                offsets.append(end)
                end += len(token)
            logprobs = Logprobs(
                tokens=tokens,
                token_logprobs=[draw(LOGPROBS) for _ in tokens],
                top_logprobs=draw(st.none() | st.just([{NASTY: -1.0} for _ in tokens])),
                text_offset=offsets,
                scores=(),
                token_bytes=[],
            )
        texts.append("".join(tokens))
        choices.append(Choice(text=texts[-1], index=index, logprobs=logprobs, finish_reason="stop"))
    return Completion(choices=choices, **HEAD), texts


@QUICK
@given(completions())
def test_any_completion_is_shown_as_text(made: tuple[Completion, list[str]]) -> None:
    completion, texts = made
    page = Page(completion._repr_html_())
    assert all(is_in(text, page) for text in texts)
    assert "<m>" in page.text
    for choice in completion.choices:
        assert is_in(choice.text, Page(choice._repr_html_()))


@QUICK
@given(st.lists(st.tuples(TEXTS, st.floats(-9999, 0)), max_size=6), st.booleans())
def test_any_chat_is_shown_as_text(tokens: list[tuple[str, float]], has_logprobs: bool) -> None:
    content = "".join(text for text, _ in tokens)
    top = [TopToken(token=NASTY, logprob=-1.0, bytes=[])]
    logprobs = ChatLogprobs(
        content=[
            ChatToken(token=text, logprob=logprob, bytes=[*text.encode()], top_logprobs=top)
            for text, logprob in tokens
        ],
        scores=(),
    )
    message = ChatMessage(content=content)
    choice = ChatChoice(index=0, message=message, logprobs=logprobs if has_logprobs else None)
    page = Page(ChatCompletion(choices=[choice], **HEAD)._repr_html_())
    assert is_in(content, page)
    assert len(page.titles) == (sum(bool(text) for text, _ in tokens) if has_logprobs else 0)


def scored(texts: list[str], logprobs: list[float | None]) -> Score:
    return Score(
        text="".join(texts),
        tokens=texts,
        token_ids=[0] * len(texts),
        token_logprobs=logprobs,
        token_bytes=[text.encode() for text in texts],
    )


@QUICK
@given(st.lists(st.tuples(TEXTS, LOGPROBS), max_size=6))
def test_any_score_is_shown_as_text(tokens: list[tuple[str, float | None]]) -> None:
    score = scored([text for text, _ in tokens], [logprob for _, logprob in tokens])
    page = Page(score._repr_html_())
    assert is_in(score.text, page)
    assert f"{score.count:,} tokens" in page.text


def test_the_less_probable_a_token_is_the_stronger_is_its_shade() -> None:
    html = scored(["a", "b", "c", "d"], [None, 0.0, -0.7, -9999.0])._repr_html_()
    shades = re.findall(r'<span title="([^"]*)" style="[^"]*,([\d.]+)\)">(\w)</span>', html)
    assert [text for _, _, text in shades] == ["b", "c", "d"]
    assert [float(shade) for _, shade, _ in shades] == [0.0, pytest.approx(0.38), 0.75]
    assert shades[1][0] == "&#x27;c&#x27;: 49.66%, logprob -0.700"
    assert "<span>a</span>" in html


def test_a_long_text_is_shown_in_part() -> None:
    count = MAX_SHADED + 1234
    page = Page(scored(["ab "] * count, [-1.0] * count)._repr_html_())
    assert len(page.titles) == MAX_SHADED
    assert "1,234 more tokens" in page.text


def test_an_error_is_text_too() -> None:
    assert Page(error_html(NASTY)).text == NASTY
