"""``echo``: the prompt before the answer, its text and what the model says about each of its tokens."""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from engine.backend.base import Batch, decode
from engine.backend.llama import LlamaBackend, LlamaOptions
from engine.backend.llama_model import LlamaModel
from engine.models.names import locate
from tests.answers import check_logprobs, raw
from tests.conftest import MODEL
from tests.sampler.oracle import logprobs as log_softmax

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from engine.service.service import CompletionService
    from tests.doors import Door

TEXTS = ["The capital of France is", "天气非常好"]
SCRIPTS = {
    "English": [
        "It was the best of times, it was the worst of times.",
        "A naïve café — “crème brûlée”, £7.50…",
    ],
    "Chinese": ["天气非常好。我们去公园散步吧。", "「今天」是2024年。气温２３℃。𠮷野家"],
    "Arabic": ["الطقس جميل جدا اليوم", "اَلسَّلامُ عليكم، ١٢٣"],
    "emoji": ["family: 👨‍👩‍👧‍👦, flag: 🇫🇷!", "❤️‍🔥👩🏽‍🚀 1️⃣ 🏴󠁧󠁢󠁳󠁣󠁴󠁿"],
    "code": [
        "def f(x):\n\treturn [y ** 2 for y in x]  # squares\n",
        'if (a != NULL && *a++) {\r\n    printf("%s\\n", a);\r\n}',
    ],
}


async def test_echo_alone_changes_nothing_else(door: Door) -> None:
    fields: dict[str, Any] = {"prompt": TEXTS[0], "seed": 3, "max_tokens": 8, "logprobs": 3}
    (plain,) = (await door.complete(**fields))["choices"]
    (echoed,) = (await door.complete(**fields, echo=True))["choices"]
    assert echoed["text"] == TEXTS[0] + plain["text"]
    for name, values in plain["logprobs"].items():
        assert echoed["logprobs"][name][-len(values) :] == values


@pytest.mark.parametrize("piece", ["<|im_end|>", "🇫", " Paris"])
async def test_one_token_is_one_entry_more_whatever_it_is(
    door: Door, service: CompletionService, piece: str
) -> None:
    """Clients that measure likelihoods cut the prompt from the arrays by that."""
    tokenize = service.engine.backend.tokenize
    forced, n_prompt = tokenize(piece, add_special=False)[0], len(tokenize(TEXTS[0]))
    fields: dict[str, Any] = {"max_tokens": 1, "echo": True, "logprobs": 1, "logit_bias": {str(forced): 100}}
    answer = await door.complete(prompt=TEXTS[0], **fields)
    (choice,) = answer["choices"]
    check_logprobs(choice, 1, prompt=TEXTS[0], echo=True)
    assert len(choice["logprobs"]["tokens"]) == n_prompt + 1
    assert choice["logprobs"]["text_offset"][-1] == len(TEXTS[0])
    assert choice["text"] == TEXTS[0] + " Paris" * (piece == " Paris")
    assert answer["usage"]["completion_tokens"] == 1
    assert choice["finish_reason"] == ("stop" if piece == "<|im_end|>" else "length")


async def test_a_prompt_that_is_cached_is_scored_all_the_same(door: Door) -> None:
    fields: dict[str, Any] = {"prompt": TEXTS[0] * 12, "temperature": 0, "max_tokens": 2}
    await door.complete(**fields)
    warm = await door.complete(**fields, echo=True, logprobs=1)
    again = await door.complete(**fields, echo=True, logprobs=1)
    assert len(warm["choices"][0]["logprobs"]["tokens"]) == warm["usage"]["prompt_tokens"] + 2
    assert warm["choices"] == again["choices"]


async def test_the_echo_of_a_long_prompt_is_scored_in_pieces(door: Door) -> None:
    text = SCRIPTS["English"][0] * 14
    answer = await door.complete(prompt=text, max_tokens=0, echo=True, logprobs=0)
    (choice,) = answer["choices"]
    assert len(choice["logprobs"]["tokens"]) == answer["usage"]["prompt_tokens"] > 128
    check_logprobs(choice, 0, prompt=text, echo=True)


async def test_best_of_and_echo_go_together(door: Door) -> None:
    fields: dict[str, Any] = {"prompt": TEXTS, "seed": 3, "max_tokens": 4, "best_of": 3}
    plain, echoed = await door.complete(**fields), await door.complete(**fields, echo=True)
    assert [choice["text"] for choice in echoed["choices"]] == [
        text + choice["text"] for text, choice in zip(TEXTS, plain["choices"], strict=True)
    ]


@pytest.fixture(scope="module")
def expected_of() -> Iterator[Callable[[str], NDArray[np.float64]]]:
    """Return a function that gives the likelihood of a text's tokens but the first, by its raw logits."""
    backend = LlamaBackend(
        LlamaModel(locate(MODEL).path),
        LlamaOptions(n_slots=1, prefix_cache=False, n_cells=512, n_batch=64, n_threads=2, n_gpu_layers=0),
    )

    @cache
    def expected(text: str) -> NDArray[np.float64]:
        tokens = backend.tokenize(text)
        batch, count = Batch(64), len(tokens)
        batch.fill(tokens, range(count), [0] * count, [True] * count)
        likelihoods = log_softmax(decode(backend, batch))[np.arange(count - 1), tokens[1:]]
        backend.truncate(0, 0)
        return likelihoods

    yield expected
    backend.close()


@pytest.mark.parametrize(
    "text",
    [pytest.param(text, id=f"{name} {i}") for name, texts in SCRIPTS.items() for i, text in enumerate(texts)],
)
async def test_the_likelihood_of_a_text_is_that_of_its_raw_logits(
    door: Door, expected_of: Callable[[str], NDArray[np.float64]], text: str
) -> None:
    expected = expected_of(text)
    answer = await door.complete(prompt=text, max_tokens=0, echo=True, logprobs=0)
    check_logprobs(answer["choices"][0], 0, prompt=text, echo=True)
    logprobs = answer["choices"][0]["logprobs"]
    assert logprobs["token_logprobs"][1:] == pytest.approx(expected, abs=1e-4)
    assert math.fsum(logprobs["token_logprobs"][1:]) == pytest.approx(expected.sum(), abs=1e-3)
    assert b"".join(map(raw, logprobs["tokens"])).decode() == text
