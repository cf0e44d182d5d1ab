"""The tokenizer that a gateway is given makes the tokens that llama.cpp makes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from engine.backend.llama_model import LlamaModel
from engine.models.packaged import DEFAULT_MODEL, PACKAGED, packaged_file
from engine.models.tokenizer_json import NoTokenizerError, tokenizer_files
from tests.kinds import vocabularies
from tests.kinds.files import ModelSpec

if TYPE_CHECKING:
    from pathlib import Path

WAYS = ("gpt-2", "smollm", "starcoder", "qwen2", "llama-bpe", "dbrx", "smaug-bpe", "refact", "command-r")
PIECES = [
    *("Hello", " hello", "hello world", " the", "sky", "1234567", " 12", "3 4", "'s", "'LL", "don't"),
    *(" ", "  ", "\n", "\r\n", "\t", "   \n  ", "\u00a0", "\u3000", "\u200b", "\x00", "\x7f"),
    *("!?", "...", " //", "a.b", "_x_", "天气", "é", "e\u0301", "ß", "İ", "Ⅷ", "²", "٣", "हिन्दी"),
    *("'\u017f", "😀", "👨\u200d👩\u200d👧", "\ufffd"),
    *("<|user|>", "<|end|>", "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|user", "|>", "<s>"),
]
CUT = [
    *("1234", " 12", "a1", "!?...", " !!", "   ", "\n\n", " \n ", "\r\n"),
    *("'s", "'LL", "n't", "a.b", "!\n", "天1", "aé"),
]
"""Words of which the ways to split make different tokens."""
TEXTS = st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=8).map("".join)


class Both(NamedTuple):
    """One vocabulary in llama.cpp and as a gateway has it."""

    model: LlamaModel
    tokenizer: Any
    files: dict[str, str]

    def check(self, text: str) -> None:
        tokens = self.model.tokenize(text, add_special=False)
        assert self.tokenizer.encode(text, add_special_tokens=False).ids == tokens
        pieces = b"".join(map(self.model.piece, tokens))
        assert self.tokenizer.decode(tokens) == pieces.decode("utf-8", "replace")


def both(path: Path) -> Both:
    model = LlamaModel(path)
    files = tokenizer_files(path, model.info)
    return Both(model, Tokenizer.from_str(files["tokenizer.json"]), files)


@pytest.fixture(scope="module", params=WAYS)
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Both:
    spec = ModelSpec(vocabularies.bpe(request.param, more=CUT))
    return both(spec.write(tmp_path_factory.mktemp("tiny") / "tiny.gguf"))


@pytest.fixture(scope="module")
def packaged() -> Both:
    return both(packaged_file(DEFAULT_MODEL, PACKAGED[DEFAULT_MODEL]))


def test_every_way_to_split_makes_the_same_tokens(tiny: Both) -> None:
    for text in (*PIECES, *CUT, "12345!!\n\n   'S'll 1a a1 "):
        tiny.check(text)
        tiny.check(f"a{text}a 1{text}")


@settings(max_examples=50)
@given(text=TEXTS)
def test_the_packaged_model_has_the_same_tokens(packaged: Both, text: str) -> None:
    packaged.check(text)


def test_what_is_put_round_a_text_is_told(tmp_path: Path) -> None:
    for adds in (False, True):
        spec = ModelSpec(vocabularies.bpe("llama-bpe", adds_bos=adds))
        found = both(spec.write(tmp_path / f"{adds}.gguf"))
        config = json.loads(found.files["tokenizer_config.json"])
        assert (config["add_bos_token"], config["add_eos_token"]) == (adds, False)
        assert {config["bos_token"], config["eos_token"]} == {"<|end|>"}
        ends = json.loads(found.files["generation_config.json"])["eos_token_id"]
        assert ends == sorted(found.model.info.eog_tokens)


@pytest.mark.parametrize(
    "vocabulary",
    [vocabularies.spm(), vocabularies.ugm(), vocabularies.bpe("tekken"), vocabularies.rwkv()],
    ids=lambda vocabulary: vocabulary.settings.get("pre", vocabulary.kind),
)
def test_other_kinds_are_refused_with_a_remedy(tmp_path: Path, vocabulary: vocabularies.Vocabulary) -> None:
    path = ModelSpec(vocabulary).write(tmp_path / "m.gguf")
    with pytest.raises(NoTokenizerError, match="POST /v1/tokenizers"):
        tokenizer_files(path, LlamaModel(path).info)


def test_a_file_that_has_gone(tmp_path: Path, packaged: Both) -> None:
    with pytest.raises(NoTokenizerError, match="cannot be read again"):
        tokenizer_files(tmp_path / "gone.gguf", packaged.model.info)
