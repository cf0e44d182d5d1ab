"""Forced tokens write the text that is forced, with every kind of vocabulary."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from benchmarks.grammar.vocabulary import vocabulary_of
from engine.backend.llama_model import LlamaModel
from engine.grammar.compiler import GrammarCompiler
from engine.grammar.form import Form, GrammarError
from engine.grammar.tokenizer import tokenizer_of
from tests.grammar.walks import allowed
from tests.kinds.files import GENERATING, LOSSY

if TYPE_CHECKING:
    from pathlib import Path

    from llguidance import LLTokenizer

SPACE = "\u2581"
TEXTS = [
    "Hello the world",
    " Hello",
    "  a   b",
    "天é😀",
    f"{SPACE}x{SPACE} y",
    "<user> hello",
    "<s>x</s>",
    "a<|user|> b<|end|>",
    "\n\tx",
    "\ufb01 \uff21 e\u0301",
]
LOSSY_TEXTS = ["hello", "x", "world"]
FAMILIES = [name for name in GENERATING if name not in ("float32", "mamba", "jamba", "qwen3")]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, LlamaModel]:
    folder: Path = tmp_path_factory.mktemp("vocabularies")
    return {name: LlamaModel(GENERATING[name].write(folder / f"{name}.gguf")) for name in FAMILIES}


def written(tokenizer: LLTokenizer, model: LlamaModel, text: str) -> bytes:
    """Return what a matcher of one text writes: what it forces, or else the first token that it allows."""
    matcher = GrammarCompiler(tokenizer).compile(Form("choice", json.dumps([text])))
    raw = b""
    while not matcher.is_done:
        forced = matcher.forced()
        may_write = text.encode()[len(raw) :]
        assert may_write.startswith(b"".join(map(model.piece, forced)))
        tokens = allowed(matcher, model.info.n_vocab).tolist()
        assert all(model.piece(token) for token in tokens)
        assert not forced or tokens == forced[:1]
        raw += model.piece(tokens[0])
        matcher.take(tokens[0])
    return raw


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("name", [name for name in FAMILIES if name not in LOSSY])
def test_what_is_forced_is_written(models: dict[str, LlamaModel], name: str, native: bool) -> None:
    tokenizer = vocabulary_of(models[name], native=native)
    for text in TEXTS:
        assert written(tokenizer, models[name], text) == text.encode()


@pytest.mark.parametrize("name", sorted(LOSSY))
def test_a_vocabulary_without_a_text_says_so(models: dict[str, LlamaModel], name: str) -> None:
    tokenizer = vocabulary_of(models[name])
    with pytest.raises(GrammarError):
        written(tokenizer, models[name], f"{SPACE}世")


def test_a_vocabulary_of_words_writes_them(models: dict[str, LlamaModel]) -> None:
    tokenizer = vocabulary_of(models["ugm"])
    for text in LOSSY_TEXTS:
        assert written(tokenizer, models["ugm"], text) == text.encode()


@pytest.mark.parametrize("name", ["spm-space", "bpe-llama"])
def test_forced_tokens_are_those_of_the_tokenizer(models: dict[str, LlamaModel], name: str) -> None:
    model = models[name]
    schema = {"const": "Hello the world Hello"}
    matcher = GrammarCompiler(vocabulary_of(model)).compile(Form("json_schema", json.dumps(schema)))
    raw = matcher.copy().raw
    forced = matcher.forced()
    assert len(forced) > 3
    assert raw.compute_ff_bytes().startswith(b"".join(map(model.piece, forced)))
    assert any(len(model.piece(token)) > 3 for token in forced)


def test_every_end_token_ends() -> None:
    letters = [bytes([byte]) for byte in range(256)]
    tokenizer = tokenizer_of([*letters, b"", b"<end>"], special=[], ends=[256, 257], tokenize=str.encode)
    matcher = GrammarCompiler(tokenizer).compile(Form("regex", "a?"))
    assert allowed(matcher, 258).tolist() == [ord("a"), 256, 257]


def test_a_tokenizer_needs_an_end() -> None:
    with pytest.raises(ValueError, match="ends an answer"):
        tokenizer_of([b"a"], special=[], ends=[], tokenize=str.encode)
