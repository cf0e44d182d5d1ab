"""Texts to tokens and back, and where each token stands, with every kind of vocabulary."""

from __future__ import annotations

import codecs
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.answers import raw
from tests.kinds.files import GENERATING, LOSSY
from tests.kinds.vocabularies import SPACE

if TYPE_CHECKING:
    from engine.llm import LLM

SPECIAL = ["<s>", "</s>", "<user>", "<unk>", "<|end|>", "<|user|>"]
WORDS = ["Hello", " the", " world", "sky", "天", "气", "é", "😀", "\n", "<0x41>"]
PARTS = [*SPECIAL, SPACE, " ", "  ", "   ", *WORDS]
TEXTS = st.one_of(
    st.lists(st.sampled_from(PARTS), max_size=8).map("".join),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12),
)
EXACT = [name for name in GENERATING if name not in LOSSY]


def slices(text: str, offsets: list[int]) -> list[str]:
    """Return what each token has of a text: all of it, in order."""
    assert offsets[0] == 0
    assert offsets == sorted(offsets)
    return [text[begin:end] for begin, end in pairwise([*offsets, len(text)])]


def framing(llm: LLM) -> tuple[int, int]:
    """Return how many tokens the model puts before a text, and how many behind it."""
    plain, whole = (llm.tokenize(prompt="a", add_special_tokens=added).tokens for added in (False, True))
    before = next(i for i in range(len(whole)) if whole[i : i + len(plain)] == plain)
    return before, len(whole) - len(plain) - before


def check_slices(
    text: str, tokens: list[str], offsets: list[int], *, around: tuple[int, int], adds_space: bool
) -> None:
    """Hold each token to its slice: it is the token, but for what the model has added to the text."""
    added = {*range(around[0]), *range(len(tokens) - around[1], len(tokens))}
    decoder, begins = codecs.getincrementaldecoder("utf-8")("replace"), True
    for number, (token, part) in enumerate(zip(tokens, slices(text, offsets), strict=True)):
        written = "" if number in added else decoder.decode(raw(token))
        if token in SPECIAL:
            begins = True
        else:
            written = written[1:] if begins and adds_space and written.startswith(" ") else written
            begins = False
        assert part == written


@pytest.mark.parametrize("llm", EXACT, indirect=True)
@settings(max_examples=20, deadline=None)
@given(text=TEXTS)
@example(text="Hello")
@example(text="<s>Hello the</s>  world" + SPACE)
@example(text=f" {SPACE}<user> <|end|> Hello")
def test_the_tokens_of_a_text_give_the_text_back(llm: LLM, text: str) -> None:
    tokens = llm.tokenize(prompt=text, add_special_tokens=False).tokens
    assert llm.detokenize(tokens=tokens).prompt == text
    around = llm.tokenize(prompt=text).tokens
    before, behind = framing(llm)
    assert around[before : len(around) - behind] == tokens
    seen = llm.detokenize(tokens=around).prompt
    info = llm.tokenizer_info()
    assert seen == (info.bos_token or "") * before + text + (info.eos_token or "") * behind


@pytest.mark.parametrize("llm", EXACT, indirect=True)
@settings(max_examples=20, deadline=None)
@given(text=TEXTS.filter(bool))
@example(text="Hello the world")
@example(text="  Hello   the" + SPACE * 2)
@example(text="<s>Hello</s> the<user>world")
@example(text="天😀 Hello")
def test_each_token_of_an_echoed_text_stands_where_its_offset_says(llm: LLM, text: str) -> None:
    (choice,) = llm.complete(prompt=text, max_tokens=0, echo=True, logprobs=0).choices
    assert choice.logprobs is not None
    assert choice.text == text
    assert choice.logprobs.token_ids == llm.tokenize(prompt=text).tokens
    check_slices(
        text,
        choice.logprobs.tokens,
        choice.logprobs.text_offset,
        around=framing(llm),
        adds_space=GENERATING[name_of(llm)].vocabulary.settings.get("add_space_prefix", False),
    )


def name_of(llm: LLM) -> str:
    return llm.models().data[0].id


@pytest.mark.parametrize("llm", EXACT, indirect=True)
@settings(max_examples=10, deadline=None)
@given(text=TEXTS.filter(bool))
def test_the_echo_of_ids_is_the_text_that_has_them(llm: LLM, text: str) -> None:
    text = "".join(part for part in text if part != "<")  # control tokens leave no trace in the text of ids
    tokens = llm.tokenize(prompt=text or "a").tokens
    by_text, by_ids = (
        llm.complete(prompt=prompt, max_tokens=2, echo=True, logprobs=1, seed=5).choices[0]
        for prompt in (text or "a", tokens)
    )
    assert by_ids == by_text


@pytest.mark.parametrize("llm", sorted(LOSSY), indirect=True)
@settings(max_examples=20, deadline=None)
@given(text=TEXTS.filter(bool))
@example(text="Hello the  world 天 x</s> the")
def test_offsets_stay_in_a_text_that_its_tokens_do_not_tell(llm: LLM, text: str) -> None:
    (choice,) = llm.complete(prompt=text, max_tokens=1, echo=True, logprobs=0, seed=1).choices
    assert choice.logprobs is not None
    assert choice.text.startswith(text)
    slices(text, choice.logprobs.text_offset[:-1])
    assert choice.logprobs.text_offset[-1] == len(text)


@pytest.mark.parametrize("llm", sorted(LOSSY), indirect=True)
def test_words_are_found_beside_what_has_no_token(llm: LLM) -> None:
    text = "hello the  世 world"
    (choice,) = llm.complete(prompt=text, max_tokens=0, echo=True, logprobs=0).choices
    assert choice.logprobs is not None
    stands = dict(zip(choice.logprobs.tokens, choice.logprobs.text_offset, strict=True))
    assert {word: stands[f" {word}"] - text.index(word) for word in ("hello", "the", "world")} in (
        {"hello": 0, "the": -1, "world": -1},
        {"hello": 0, "the": -1, "world": 0},
    )
