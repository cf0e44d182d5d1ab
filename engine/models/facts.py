"""What is known of a model without loading it: its facts, from the headers of its files."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from engine.models.choice import Candidate
from engine.models.display import printable
from engine.models.gguf_header import Header, HeaderError, read_header
from engine.models.notes import Note

if TYPE_CHECKING:
    from pathlib import Path

_RULES: Final = 1
"""To be raised with what facts there are: those noted by an older rule are read again."""
_GUESSED: Final = 1024
"""A bit that a file type has where it was guessed."""
_FILE_TYPES: Final = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S",
    12: "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K",
    19: "IQ2_XXS", 20: "IQ2_XS", 21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL",
    26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S", 29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0",
    37: "TQ2_0", 38: "MXFP4_MOE", 39: "NVFP4", 40: "Q1_0",
}  # fmt: skip
"""llama.cpp's numbers for types of files."""
_RECURRENT: Final = frozenset({"mamba", "mamba2", "rwkv6", "rwkv6qwen2", "rwkv7", "arwkv7"})
"""Architectures whose memory of a text does not grow with it."""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a model's files say about it; None stands for what they do not say."""

    architecture: str | None = None
    """As ``llama`` or ``qwen3``."""
    parameters: int | None = None
    """The elements of all tensors."""
    quantisation: str | None = None
    """The type of most of the weights, as ``Q4_K_M``."""
    context: int | None = None
    """Tokens of context that it was trained for."""
    vocabulary: int | None = None
    """Tokens that it knows."""
    licence: str | None = None
    """As its maker writes it, such as ``apache-2.0``."""
    cell_bytes: int | None = None
    """Bytes that one token takes in the KV cache with keys and values in half precision; 0: none."""

    def as_json(self) -> dict[str, Any]:
        """Return the facts as a mapping of plain values."""
        return dataclasses.asdict(self)


def read_facts(path: Path) -> ModelFacts:
    """Return the facts of a model on this machine; they are read once for each file, and remembered.

    Args:
        path: Its file; of a model split over several files, the first.

    Raises:
        HeaderError: it is not a GGUF file.
        OSError: it cannot be read.
    """
    note = Note("facts", path, _RULES)
    try:
        return ModelFacts(**json.loads(note.read() or ""))
    except (TypeError, ValueError):  # there is none, or half of one
        pass
    first, *others = [read_header(part) for part in parts_of(path)]
    facts = facts_of(first, n_more_weights=sum(other.n_weights or 0 for other in others))
    note.write(json.dumps(facts.as_json()))
    return facts


def parts_of(path: Path) -> list[Path]:
    """Return the files of a model, of which ``path`` is the first or the only one."""
    names = Candidate.of(path.name).files()
    return [path.with_name(name) for name in names] if path.name == names[0] else [path]


def facts_of(header: Header, *, n_more_weights: int = 0) -> ModelFacts:
    """Return the facts that a header tells.

    Args:
        header: That of a model's first file, or of its beginning.
        n_more_weights: The elements of the tensors in its other files.
    """
    architecture = _text(header, "general.architecture")
    file_type = _number(header, "general.file_type")
    tokens = header.lengths.get("tokenizer.ggml.tokens")
    return ModelFacts(
        architecture=architecture,
        parameters=None if header.n_weights is None else header.n_weights + n_more_weights,
        quantisation=None if file_type is None else _FILE_TYPES.get(file_type & ~_GUESSED),
        context=_number(header, f"{architecture}.context_length"),
        vocabulary=tokens or _number(header, f"{architecture}.vocab_size"),
        licence=_text(header, "general.license"),
        cell_bytes=_cell_bytes(header, architecture),
    )


def _cell_bytes(header: Header, architecture: str | None) -> int | None:
    """Return what :func:`engine.backend.cell_size.cell_bytes` does, from what the file says."""
    if architecture in _RECURRENT:
        return 0
    n_layers = _number(header, f"{architecture}.block_count")
    n_heads = _first(header, f"{architecture}.attention.head_count")
    width = _number(header, f"{architecture}.embedding_length")
    length = _number(header, f"{architecture}.attention.key_length")
    if length is None and width is not None and n_heads:
        length = width // n_heads
    heads = header.values.get(f"{architecture}.attention.head_count_kv", n_heads)
    if n_layers is None or length is None or heads is None or isinstance(heads, (str, float)):
        return None
    in_all_layers = sum(map(int, heads)) if isinstance(heads, tuple) else n_layers * heads
    return in_all_layers * length * 2 * 2


def _text(header: Header, key: str) -> str | None:
    value = header.values.get(key)
    return printable(value) or None if isinstance(value, str) else None


def _number(header: Header, key: str) -> int | None:
    value = header.values.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _first(header: Header, key: str) -> int | None:
    """Return a number, or the first of a list of numbers."""
    value = header.values.get(key)
    return int(value[0]) if isinstance(value, tuple) and value else _number(header, key)


__all__ = ["HeaderError", "ModelFacts", "facts_of", "parts_of", "read_facts"]
