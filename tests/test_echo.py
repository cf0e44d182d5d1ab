"""``echo``: the prompt before the answer, its text and what the model says about each of its tokens."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from engine.backend.base import Batch
from engine.backend.llama import LlamaBackend, LlamaModel, LlamaOptions
from engine.models import locate
from tests.conftest import MODEL
from tests.sampler.oracle import logprobs as log_softmax
from tests.test_doors import comparable, joined

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from engine.service import CompletionService
    from tests.doors import Answer, Door

TEXTS = ["The capital of France is", "天气非常好"]
SCRIPTS = {
    "English": "It was the best of times, it was the worst of times.",
    "Chinese": "天气非常好。我们去公园散步吧。",
    "Arabic": "الطقس جميل جدا اليوم",
    "emoji": "family: 👨‍👩‍👧‍👦, flag: 🇫🇷!",
    "code": "def f(x):\n\treturn [y ** 2 for y in x]  # squares\n",
}
FORMS = ["a text", "texts", "ids", "lists of ids"]


def prompt_of(form: str, service: CompletionService) -> Any:
    ids = [service.engine.backend.tokenize(text) for text in TEXTS]
    return {"a text": TEXTS[0], "texts": TEXTS, "ids": ids[0], "lists of ids": ids}[form]


def lengths_of(form: str, service: CompletionService) -> list[int]:
    ids = [len(service.engine.backend.tokenize(text)) for text in TEXTS]
    return ids if form in ("texts", "lists of ids") else ids[:1]


@pytest.mark.parametrize("logprobs", [None, 0, 1, 5])
@pytest.mark.parametrize("form", FORMS)
async def test_every_form_has_its_prompt_before_every_choice(
    door: Door, service: CompletionService, form: str, logprobs: int | None
) -> None:
    lengths = lengths_of(form, service)
    ends = dict.fromkeys(map(str, service.engine.backend.info.eog_tokens), -100)
    for n, max_tokens in ((1, 5), (2, 0)):
        fields = {
            "prompt": prompt_of(form, service),
            "n": n,
            "max_tokens": max_tokens,
            "echo": True,
            "logprobs": logprobs,
            "seed": 9,
            "logit_bias": ends,
        }
        whole = await door.complete(**fields)
        assert [choice["index"] for choice in whole["choices"]] == list(range(n * len(lengths)))
        assert whole["usage"]["prompt_tokens"] == sum(lengths)
        assert whole["usage"]["completion_tokens"] == n * len(lengths) * max_tokens
        for choice in whole["choices"]:
            number = choice["index"] // n
            assert choice["text"].startswith(TEXTS[number])
            assert (choice["text"] == TEXTS[number]) == (max_tokens == 0)
            assert choice["finish_reason"] == "length"
            check_logprobs(choice, lengths[number] + max_tokens, logprobs)
        chunks = await door.stream(**fields, stream_options={"include_usage": True})
        assert joined(chunks) == comparable(whole)["choices"]
        assert chunks[-1]["usage"]["prompt_tokens"] == sum(lengths)


def check_logprobs(choice: Answer, count: int, asked: int | None) -> None:
    logprobs, text = choice["logprobs"], choice["text"]
    if asked is None:
        assert logprobs is None
        return
    tokens, offsets = logprobs["tokens"], logprobs["text_offset"]
    assert len(tokens) == len(offsets) == len(logprobs["token_logprobs"]) == count
    assert logprobs["token_logprobs"][0] is None
    assert all(value <= 0 for value in logprobs["token_logprobs"][1:])
    assert offsets[0] == 0
    for token, start, end in zip(tokens, offsets, [*offsets[1:], len(text)], strict=True):
        assert token.startswith("bytes:") or text[start:end] == token
    if asked == 0:
        assert logprobs["top_logprobs"] is None
        return
    assert logprobs["top_logprobs"][0] is None
    for token, value, top in zip(
        tokens[1:], logprobs["token_logprobs"][1:], logprobs["top_logprobs"][1:], strict=True
    ):
        assert asked <= len(top) <= asked + 1
        assert top[token] == value


async def test_echo_alone_changes_nothing_else(door: Door) -> None:
    fields: dict[str, Any] = {"prompt": TEXTS[0], "seed": 3, "max_tokens": 8, "logprobs": 3}
    (plain,) = (await door.complete(**fields))["choices"]
    (echoed,) = (await door.complete(**fields, echo=True))["choices"]
    assert echoed["text"] == TEXTS[0] + plain["text"]
    for name, values in plain["logprobs"].items():
        assert echoed["logprobs"][name][-len(values) :] == values


async def test_a_prompt_that_is_cached_is_scored_all_the_same(door: Door) -> None:
    fields: dict[str, Any] = {"prompt": TEXTS[0] * 12, "temperature": 0, "max_tokens": 2}
    await door.complete(**fields)
    warm = await door.complete(**fields, echo=True, logprobs=1)
    again = await door.complete(**fields, echo=True, logprobs=1)
    assert len(warm["choices"][0]["logprobs"]["tokens"]) == warm["usage"]["prompt_tokens"] + 2
    assert warm["choices"] == again["choices"]


async def test_the_echo_of_a_long_prompt_is_scored_in_pieces(door: Door) -> None:
    answer = await door.complete(prompt=SCRIPTS["English"] * 14, max_tokens=0, echo=True, logprobs=0)
    (choice,) = answer["choices"]
    assert len(choice["logprobs"]["tokens"]) == answer["usage"]["prompt_tokens"] > 128
    check_logprobs(choice, answer["usage"]["prompt_tokens"], 0)


async def test_best_of_and_echo_go_together(door: Door) -> None:
    fields: dict[str, Any] = {"prompt": TEXTS, "seed": 3, "max_tokens": 4, "best_of": 3}
    plain, echoed = await door.complete(**fields), await door.complete(**fields, echo=True)
    assert [choice["text"] for choice in echoed["choices"]] == [
        text + choice["text"] for text, choice in zip(TEXTS, plain["choices"], strict=True)
    ]


@pytest.fixture(scope="module")
def logits_of() -> Iterator[Callable[[list[int]], NDArray[np.float32]]]:
    """Return a function that gives the raw logits behind every token of a text."""
    backend = LlamaBackend(
        LlamaModel(locate(MODEL).path),
        LlamaOptions(n_slots=1, keeps_texts=False, n_cells=512, n_batch=64, n_threads=2, n_gpu_layers=0),
    )

    def logits(tokens: list[int]) -> NDArray[np.float32]:
        batch, count = Batch(64), len(tokens)
        batch.fill(tokens, range(count), [0] * count, [True] * count)
        rows = backend.decode(batch).copy()
        backend.truncate(0, 0)
        return rows

    yield logits
    backend.close()


@pytest.mark.parametrize("script", SCRIPTS)
async def test_the_likelihood_of_a_text_is_that_of_its_raw_logits(
    door: Door,
    service: CompletionService,
    logits_of: Callable[[list[int]], NDArray[np.float32]],
    script: str,
) -> None:
    text = SCRIPTS[script]
    tokens = service.engine.backend.tokenize(text)
    assert len(tokens) < 64
    expected = log_softmax(logits_of(tokens))[np.arange(len(tokens) - 1), tokens[1:]]
    answer = await door.complete(prompt=text, max_tokens=0, echo=True, logprobs=0)
    logprobs = answer["choices"][0]["logprobs"]
    assert logprobs["token_logprobs"][1:] == pytest.approx(expected, abs=1e-4)
    assert math.fsum(logprobs["token_logprobs"][1:]) == pytest.approx(expected.sum(), abs=1e-3)
    assert b"".join(map(raw, logprobs["tokens"])).decode() == text


def raw(token: str) -> bytes:
    """Return the bytes of a token as the contract writes it."""
    if not token.startswith("bytes:"):
        return token.encode()
    return bytes.fromhex(token.removeprefix("bytes:").replace("\\x", ""))
