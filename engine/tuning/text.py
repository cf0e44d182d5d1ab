"""The fixed text on which a model is compared with the original: prose in six languages, code and data."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.backend.llama_model import LlamaModel

_BETWEEN = "\n----\n"


def passages() -> list[str]:
    """Return the passages of the text, in order."""
    text = resources.files("engine.tuning").joinpath("text.txt").read_text("utf-8")
    return text.rstrip("\n").split(_BETWEEN)


def text_tokens(model: LlamaModel, n_tokens: int) -> list[int]:
    """Return at most so many tokens: the beginnings of all passages, in equal parts.

    A text that is too short for a part is whole; so there may be fewer.
    """
    texts = passages()
    most = max(2, n_tokens // len(texts))
    first, *rest = (model.tokenize(text + "\n\n", add_special=i == 0) for i, text in enumerate(texts))
    tokens = first[: most + model.info.n_before]
    for passage in rest:
        tokens += passage[:most]
    return tokens[: max(2, n_tokens)]
