"""Text to tokens and back, through every door."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.client import CallError

if TYPE_CHECKING:
    from engine.service.service import CompletionService
    from tests.doors import Door

TEXTS = [
    "The capital of France is",
    "天气非常好",
    "الطقس جميل جدا",
    "family: 👨‍👩‍👧‍👦, flag: 🇫🇷",
    "def f(x):\n\treturn x  # nothing\n\n",
    "<|im_start|>user\nHi<|im_end|>",
    "",
    " ",
    "a" * 5000,
]


@pytest.mark.parametrize("text", TEXTS)
async def test_the_tokens_of_a_text_give_the_text_back(door: Door, text: str) -> None:
    answer = await door.tokenize(prompt=text, add_special_tokens=False)
    assert answer["count"] == len(answer["tokens"])
    assert (await door.detokenize(tokens=answer["tokens"]))["prompt"] == text


async def test_they_are_the_tokens_that_a_prompt_of_the_text_has(
    door: Door, service: CompletionService
) -> None:
    text = TEXTS[0]
    answer = await door.tokenize(prompt=text)
    assert answer == {
        "tokens": service.engine.backend.tokenize(text),
        "count": len(service.engine.backend.tokenize(text)),
        "max_model_len": service.max_model_len,
    }
    usage = (await door.complete(prompt=text, max_tokens=1))["usage"]
    assert usage["prompt_tokens"] == answer["count"]


async def test_half_a_character_is_replaced(door: Door) -> None:
    tokens = (await door.tokenize(prompt="𒀀", add_special_tokens=False))["tokens"]
    assert len(tokens) > 1
    assert (await door.detokenize(tokens=tokens[:1]))["prompt"] == "\ufffd"


async def test_no_tokens_have_no_text(door: Door) -> None:
    assert (await door.detokenize(tokens=[]))["prompt"] == ""


async def test_special_tokens_are_told_by_their_names(door: Door, service: CompletionService) -> None:
    info = await door.tokenizer_info()
    assert info == {
        "bos_token": "<|im_start|>",
        "eos_token": "<|im_end|>",
        "pad_token": "<|im_end|>",
        "chat_template": service.engine.backend.info.chat_template,
    }
    tokens = (await door.tokenize(prompt=info["eos_token"], add_special_tokens=False))["tokens"]
    assert tokens == [service.engine.backend.info.eos_token]


@pytest.mark.parametrize(
    ("method", "fields", "code", "part"),
    [
        ("detokenize", {"tokens": [1, 49152]}, "invalid_request_error", "'tokens'"),
        ("detokenize", {"tokens": [-1]}, "invalid_request_error", "-1"),
        ("detokenize", {"tokens": [1 << 40]}, "invalid_request_error", str(1 << 40)),
    ],
)
async def test_what_is_wrong_is_named(
    door: Door, method: str, fields: dict[str, Any], code: str, part: str
) -> None:
    with pytest.raises(CallError) as caught:
        await getattr(door, method)(**fields)
    assert caught.value.code == code
    assert part in caught.value.message
