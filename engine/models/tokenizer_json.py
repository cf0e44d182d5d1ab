"""The tokenizer of a GGUF file as the files of a Hugging Face one, for programs that tokenize themselves.

llama.cpp stays what tokenizes here. A gateway in front of several servers has no llama.cpp: it is given the
same vocabulary, merges and splitting as ``tokenizer.json``, and makes the same tokens of a text.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from engine.models.gguf_header import Header, HeaderError, read_header

if TYPE_CHECKING:
    from pathlib import Path

    from engine.backend.base import ModelInfo

_TOKENS: Final = "tokenizer.ggml.tokens"
_TYPES: Final = "tokenizer.ggml.token_type"
_MERGES: Final = "tokenizer.ggml.merges"
_UNKNOWN, _CONTROL, _USER_DEFINED = 2, 3, 4
"""What GGUF calls types of tokens that are found in a text before it is split."""

_PIECES: Final = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_WORDS: Final = (
    r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|DIGITS"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_DIGIT: Final = r"\p{N}"
_SPLITS: Final[dict[str, tuple[str, ...]]] = {
    "gpt-2": (_PIECES,),
    **dict.fromkeys(("smollm", "starcoder", "refact", "command-r", "codeshell"), (_DIGIT, _PIECES)),
    **dict.fromkeys(("qwen2", "deepseek-r1-qwen"), (_WORDS.replace("DIGITS", _DIGIT),)),
    **dict.fromkeys(("llama-bpe", "dbrx", "smaug-bpe"), (_WORDS.replace("DIGITS", r"\p{N}{1,3}"),)),
}
"""How a GGUF file calls a way to split a text -> regular expressions, which split it one after the other."""
_TAKES_WHOLE_WORDS: Final = frozenset({"llama-bpe"})
"""Of these, the ways after which a word that is a token is one, whatever the merges say."""
_REMEDY: Final = "Give the gateway that of the original model: POST /v1/tokenizers with this model's name."


class NoTokenizerError(ValueError):
    """No tokenizer can be made of a file; the message says why, and what to do."""


def tokenizer_files(path: Path, info: ModelInfo) -> dict[str, str]:
    """Return the files of a tokenizer that makes the same tokens, by their names.

    Args:
        path: The GGUF file.
        info: What the loaded model says about itself.

    Raises:
        NoTokenizerError: the vocabulary is of a kind that is not written so, or the file has gone.
    """
    try:
        header = read_header(path, whole=(_TOKENS, _TYPES, _MERGES))
    except (HeaderError, OSError) as error:
        raise NoTokenizerError(f"The model's file cannot be read again: {error}.") from None
    tokens, merges = header.texts.get(_TOKENS, []), header.texts.get(_MERGES, [])
    splits = _splits(header)
    if not tokens or not merges:
        raise NoTokenizerError(f"The model's file has no list of merges. {_REMEDY}")
    files = {
        "tokenizer.json": _tokenizer(
            tokens,
            merges,
            splits=splits,
            added=_added(header, tokens, info),
            takes_whole_words=header.values.get("tokenizer.ggml.pre") in _TAKES_WHOLE_WORDS,
        ),
        "tokenizer_config.json": _config(tokens, info),
        "generation_config.json": {"eos_token_id": sorted(info.eog_tokens)},
    }
    return {name: json.dumps(content, ensure_ascii=False) for name, content in files.items()}


def _splits(header: Header) -> tuple[str, ...]:
    kind = header.values.get("tokenizer.ggml.model")
    splits = _SPLITS.get(str(header.values.get("tokenizer.ggml.pre")))
    if kind != "gpt2" or splits is None:
        way = f"{kind}, {header.values.get('tokenizer.ggml.pre', 'no way to split')}"
        raise NoTokenizerError(
            f"A vocabulary of this kind ({way}) is not written as tokenizer.json here. {_REMEDY}"
        )
    return splits


def _added(header: Header, tokens: list[str], info: ModelInfo) -> list[dict[str, Any]]:
    """Return the tokens that are found in a text before it is split; control tokens leave no trace in one."""
    types = header.values.get(_TYPES)
    kinds = types if isinstance(types, tuple) else ()
    return [
        {
            "id": token,
            "content": tokens[token],
            **dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False),
            "special": kind == _CONTROL or token in info.eog_tokens,
        }
        for token, kind in enumerate(kinds)
        if kind in (_UNKNOWN, _CONTROL, _USER_DEFINED) or token in info.eog_tokens
    ]


def _tokenizer(
    tokens: list[str],
    merges: list[str],
    *,
    splits: tuple[str, ...],
    added: list[dict[str, Any]],
    takes_whole_words: bool,
) -> dict[str, Any]:
    split = {"type": "Split", "behavior": "Isolated", "invert": False}
    as_bytes = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [*({**split, "pattern": {"Regex": one}} for one in splits), as_bytes],
        },
        "post_processor": as_bytes,
        "decoder": as_bytes,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": takes_whole_words,
            "vocab": {text: token for token, text in enumerate(tokens)},
            "merges": merges,
        },
    }


def _config(tokens: list[str], info: ModelInfo) -> dict[str, Any]:
    special = {"bos_token": info.bos_token, "eos_token": info.eos_token, "pad_token": info.pad_token}
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **{name: tokens[token] for name, token in special.items() if token is not None},
        "add_bos_token": info.n_before > 0,
        "add_eos_token": info.n_behind > 0,
        "chat_template": info.chat_template,
        "clean_up_tokenization_spaces": False,
        "model_max_length": info.n_ctx_train,
    }
