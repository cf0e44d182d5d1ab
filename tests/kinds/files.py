"""GGUF files of a few kilobytes with random weights: one for each kind of model and of vocabulary."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, quantize

from tests.kinds import vocabularies
from tests.kinds.vocabularies import Vocabulary

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray


WIDTH, HEADS, FEED, LAYERS, CONTEXT = 32, 4, 64, 2, 512
INNER, STATE, KERNEL, RANK = 2 * WIDTH, 8, 4, 4
_QUANT = GGMLQuantizationType.Q8_0
_MATRIX = re.compile(r"(attn_(q|k|v|output)|ffn_(gate|up|down)|token_embd|output)\.weight$")
Shapes = dict[str, tuple[int, ...]]
"""The shape of each tensor as numpy has it, which is the other way round than in the file."""
ATTENTION = {"attn_q": (WIDTH, WIDTH), "attn_k": (WIDTH, WIDTH), "attn_v": (WIDTH, WIDTH)}
GATED = {"ffn_gate": (FEED, WIDTH), "ffn_up": (FEED, WIDTH), "ffn_down": (WIDTH, FEED)}


def common_metadata() -> dict[str, Any]:
    return {
        "context_length": CONTEXT,
        "embedding_length": WIDTH,
        "block_count": LAYERS,
        "feed_forward_length": FEED,
        "attention.head_count": HEADS,
        "attention.layer_norm_rms_epsilon": 1e-5,
    }


def llama_shapes(n_vocab: int) -> Shapes:
    layer = {"attn_norm": (WIDTH,), **ATTENTION, "attn_output": (WIDTH, WIDTH), "ffn_norm": (WIDTH,), **GATED}
    return _ends(n_vocab) | _layers(layer)


def qwen3_shapes(n_vocab: int) -> Shapes:
    head = (WIDTH // HEADS,)
    return llama_shapes(n_vocab) | _layers({"attn_q_norm": head, "attn_k_norm": head})


def mamba_shapes(n_vocab: int) -> Shapes:
    return _ends(n_vocab) | _layers({"attn_norm": (WIDTH,), **_state_space()})


def jamba_shapes(n_vocab: int) -> Shapes:
    """A layer with a recurrent state, then one with attention."""
    norms = {"ssm_dt_norm": (RANK,), "ssm_b_norm": (STATE,), "ssm_c_norm": (STATE,)}
    both = {"attn_norm": (WIDTH,), "ffn_norm": (WIDTH,), **GATED}
    first = _layers({**both, **_state_space(), **norms}, [0])
    return _ends(n_vocab) | first | _layers({**both, **ATTENTION, "attn_output": (WIDTH, WIDTH)}, [1])


def bert_shapes(n_vocab: int) -> Shapes:
    layer = {**ATTENTION, "attn_output": (WIDTH, WIDTH), "ffn_up": (FEED, WIDTH), "ffn_down": (WIDTH, FEED)}
    norms = _layers({"attn_output_norm": (WIDTH,), "layer_output_norm": (WIDTH,)})
    norms |= {name.replace(".weight", ".bias"): shape for name, shape in norms.items()}
    norms |= {"token_embd_norm.weight": (WIDTH,), "token_embd_norm.bias": (WIDTH,)}
    ends = {"token_embd.weight": (n_vocab, WIDTH), "position_embd.weight": (CONTEXT, WIDTH)}
    return ends | {"token_types.weight": (2, WIDTH)} | norms | _layers(layer)


def t5_shapes(n_vocab: int) -> Shapes:
    attention = dict.fromkeys(("attn_q", "attn_k", "attn_v", "attn_o"), (WIDTH, WIDTH))
    feed = {"ffn_norm": (WIDTH,), "ffn_up": (FEED, WIDTH), "ffn_down": (WIDTH, FEED)}
    whole = {"attn_norm": (WIDTH,), "attn_rel_b": (8, HEADS), **attention, **feed}
    cross = {f"cross_{name}": shape for name, shape in {"attn_norm": (WIDTH,), **attention}.items()}
    ends = {"token_embd.weight": (n_vocab, WIDTH), "enc.output_norm.weight": (WIDTH,)}
    ends |= {"dec.output_norm.weight": (WIDTH,)}
    return ends | _layers(whole, stem="enc.blk") | _layers(whole | cross, stem="dec.blk")


def t5_encoder_shapes(n_vocab: int) -> Shapes:
    return {name: shape for name, shape in t5_shapes(n_vocab).items() if not name.startswith("dec.")}


def no_shapes(_n_vocab: int) -> Shapes:
    return {}


def _ends(n_vocab: int) -> Shapes:
    return {
        "token_embd.weight": (n_vocab, WIDTH),
        "output_norm.weight": (WIDTH,),
        "output.weight": (n_vocab, WIDTH),
    }


def _state_space() -> Shapes:
    return {
        "ssm_in": (2 * INNER, WIDTH),
        "ssm_conv1d": (INNER, KERNEL),
        "ssm_conv1d.bias": (INNER,),
        "ssm_x": (RANK + 2 * STATE, INNER),
        "ssm_dt": (INNER, RANK),
        "ssm_dt.bias": (INNER,),
        "ssm_a.": (INNER, STATE),
        "ssm_d.": (INNER,),
        "ssm_out": (WIDTH, INNER),
    }


def _layers(
    shapes: Mapping[str, tuple[int, ...]], numbers: Sequence[int] = range(LAYERS), *, stem: str = "blk"
) -> Shapes:
    """Repeat the tensors of a layer; a name with a dot has its own ending, which may be empty."""
    return {
        f"{stem}.{i}.{name.removesuffix('.') if '.' in name else f'{name}.weight'}": shape
        for i in numbers
        for name, shape in shapes.items()
    }


def _weights(name: str, shape: tuple[int, ...], random: np.random.Generator) -> NDArray[np.float32]:
    if "norm" in name and not name.endswith("bias"):
        return np.ones(shape, np.float32)
    if ".ssm_a" in name:  # a state that grows would overflow
        return -np.abs(random.normal(1, 0.2, shape)).astype(np.float32)
    return random.normal(0, 0.3, shape).astype(np.float32)


def _add(writer: GGUFWriter, key: str, value: Any) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, list):
        writer.add_array(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)


@dataclass(frozen=True)
class ModelSpec:
    """What to write into a file."""

    vocabulary: Vocabulary
    architecture: str = "llama"
    shapes: Callable[[int], Shapes] = llama_shapes
    metadata: dict[str, Any] = field(default_factory=dict)
    """More keys of the architecture, or others than the usual ones; None leaves one out."""
    rows: int | None = None
    """Rows of the embedding, where they are not as many as there are tokens."""

    quantized: bool = True
    """Whether its large matrices are quantized, for which llama.cpp's kernels can be batch-invariant."""

    def write(self, path: Path) -> Path:
        """Write the file, with the same weights every time."""
        writer = GGUFWriter(path, self.architecture)
        for name, value in (common_metadata() | self.metadata).items():
            _add(writer, f"{self.architecture}.{name}", value)
        self.vocabulary.write(writer)
        random = np.random.default_rng(len(self.vocabulary))
        for name, shape in self.shapes(self.rows or len(self.vocabulary)).items():
            weights = _weights(name, shape, random)
            if self.quantized and _MATRIX.search(name):
                writer.add_tensor(name, quantize(weights, _QUANT), raw_dtype=_QUANT)
            else:
                writer.add_tensor(name, weights)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path


_SSM = {"conv_kernel": KERNEL, "inner_size": INNER, "state_size": STATE, "time_step_rank": RANK}
_STATE_SPACE = {f"ssm.{name}": value for name, value in _SSM.items()}

GENERATING = {
    "spm-space": ModelSpec(vocabularies.spm()),
    "spm-space-no-bos": ModelSpec(vocabularies.spm(adds_bos=False)),
    "spm-space-eos": ModelSpec(vocabularies.spm(adds_eos=True)),
    "spm": ModelSpec(vocabularies.spm(adds_space=False)),
    "spm-no-bos": ModelSpec(vocabularies.spm(adds_space=False, adds_bos=False)),
    "float32": ModelSpec(vocabularies.spm(), quantized=False),
    "bpe-gpt2": ModelSpec(vocabularies.bpe("gpt-2")),
    "bpe-llama": ModelSpec(vocabularies.bpe("llama-bpe", adds_bos=True)),
    "bpe-qwen2": ModelSpec(vocabularies.bpe("qwen2")),
    "wpm": ModelSpec(vocabularies.wpm()),
    "ugm": ModelSpec(vocabularies.ugm()),
    "rwkv-vocabulary": ModelSpec(vocabularies.rwkv()),
    "mamba": ModelSpec(vocabularies.spm(), "mamba", mamba_shapes, _STATE_SPACE),
    "jamba": ModelSpec(
        vocabularies.bpe("gpt-2"),
        "jamba",
        jamba_shapes,
        _STATE_SPACE | {"attention.head_count_kv": [0, HEADS]},
    ),
    "qwen3": ModelSpec(vocabularies.bpe("qwen2"), "qwen3", qwen3_shapes),
}
"""Models that write text, by what is special about them."""

NOT_INVARIANT = frozenset({"float32", "mamba", "jamba"})
"""Those whose logits depend on what else is computed, in the last bits; a seed then uses no cached prompt."""

LOSSY = frozenset({"wpm", "ugm"})
"""Those whose tokens do not give every text back: they have no token for some characters."""

_BERT = {"attention.causal": False, "pooling_type": 1, "attention.layer_norm_epsilon": 1e-5}
_T5 = {"attention.relative_buckets_count": 8, "decoder_start_token_id": 0}

REFUSED = {
    "bert": (ModelSpec(vocabularies.wpm(), "bert", bert_shapes, _BERT), "an encoder"),
    "t5": (ModelSpec(vocabularies.ugm(), "t5", t5_shapes, _T5), "an encoder with a decoder"),
    "t5encoder": (ModelSpec(vocabularies.ugm(), "t5encoder", t5_encoder_shapes, _T5), "an encoder"),
    "embedding": (
        ModelSpec(vocabularies.bpe("qwen2"), "qwen3", qwen3_shapes, {"pooling_type": 3}),
        "an embedding model",
    ),
    "reranker": (
        ModelSpec(vocabularies.bpe("qwen2"), "qwen3", qwen3_shapes, {"pooling_type": 4}),
        "a reranking model",
    ),
    "classifier": (
        ModelSpec(vocabularies.spm(), metadata={"classifier.output_labels": ["yes", "no"]}),
        "another classifier",
    ),
    "both directions": (ModelSpec(vocabularies.spm(), metadata={"attention.causal": False}), "an encoder"),
    "no vocabulary": (
        ModelSpec(Vocabulary("none", []), metadata={"vocab_size": 64}, rows=64),
        "a model without a vocabulary",
    ),
    "vocabulary": (ModelSpec(vocabularies.spm(), shapes=no_shapes), "a vocabulary without weights"),
}
"""Models that do not, and what each is."""
