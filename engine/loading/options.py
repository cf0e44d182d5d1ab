"""How a model is loaded and run: every option with its range and default, once for command and Python."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from engine.backend.cache_types import CacheType, FlashAttention, is_quantized
from engine.contract.messages import contract_error
from engine.models.packaged import DEFAULT_MODEL

if TYPE_CHECKING:
    from collections.abc import Collection

OTHER_NAMES = {
    **dict.fromkeys(("n_ctx", "num_ctx", "context", "context_length", "max_model_len"), "ctx_size"),
    **dict.fromkeys(("n_parallel", "max_num_seqs", "num_parallel", "slots"), "parallel"),
    **dict.fromkeys(("n_threads", "num_threads"), "threads"),
    **dict.fromkeys(("n_gpu_layers", "num_gpu", "ngl"), "gpu_layers"),
    **dict.fromkeys(("n_ubatch", "n_batch", "num_batch"), "ubatch_size"),
    **dict.fromkeys(("model_path", "model_name"), "model"),
    "enable_prefix_caching": "prefix_cache",
    "flash_attention": "flash_attn",
    "type_k": "cache_type_k",
    "type_v": "cache_type_v",
    "served_model_name": "alias",
}
"""Name in other engines -> the option's name here."""


def meant(unknown: str, known: Collection[str]) -> str | None:
    """Return the option of those that are known which somebody meant who gave another name."""
    elsewhere = OTHER_NAMES.get(unknown)
    return (
        elsewhere if elsewhere in known else next(iter(difflib.get_close_matches(unknown, known, n=1)), None)
    )


MAX_PARALLEL = 254  # llama.cpp's own limit on sequences is 256, and the backend needs two
_AUTOMATIC = "(default: chosen for the model and the machine)"


def _not_empty(value: object) -> object:
    """Refuse the empty path, which would be the current folder."""
    if value == "":
        raise contract_error("should name a folder, not be empty")
    return value


class EngineOptions(BaseModel):
    """How a model is loaded and run; what is not given is chosen for the model and the machine."""

    model_config = ConfigDict(extra="forbid")

    model: str = Field(
        DEFAULT_MODEL, description="A GGUF file, a packaged model's name, or user/repo:QUANT of the hub."
    )
    alias: str | None = Field(None, min_length=1, description="The model's name in requests and answers.")
    parallel: int = Field(16, ge=1, le=MAX_PARALLEL, description="Sequences that are generated at once.")
    ctx_size: int | None = Field(
        None, ge=2, description=f"Tokens that the KV cache holds, for all sequences together. {_AUTOMATIC}"
    )
    prefix_cache: bool = Field(
        True,
        description="on or off: whether texts are kept for prompts that begin like them, in as much memory "
        "again as the KV cache takes.",
    )
    prefix_cache_dir: Annotated[Path, BeforeValidator(_not_empty)] | None = Field(
        None,
        description="Folder in which these texts outlive the process, for the same model and settings. "
        "(default: none)",
    )
    prefix_cache_dir_gb: float = Field(
        4.0, gt=0, allow_inf_nan=False, description="Gigabytes that may lie there; the oldest are removed."
    )
    batch_invariant: Literal["auto", "on", "off"] = Field(
        "auto",
        description="Whether a seed repeats beside other requests, to the bit: auto where that is free, on "
        "wherever llama.cpp can be made to, at the price that the start-up line tells.",
    )
    speculation: Literal["auto", "off"] = Field(
        "auto",
        description="Whether tokens are guessed where a text repeats itself, and computed together; answers "
        "are the same.",
    )
    threads: int | None = Field(
        None, ge=1, le=512, description=f"Threads of llama.cpp, and most of the sampler. {_AUTOMATIC}"
    )
    ubatch_size: int | None = Field(
        None, ge=64, le=8192, description=f"Tokens of prompts that llama.cpp computes at once. {_AUTOMATIC}"
    )
    flash_attn: FlashAttention = Field(
        "auto",
        description="Flash attention: auto, on or off; seeds repeat beside other requests only with it.",
    )
    cache_type_k: CacheType | None = Field(
        None,
        description="Type of the keys in the KV cache, such as f16 or q8_0. (default: f16, unless tuned)",
    )
    cache_type_v: CacheType | None = Field(
        None,
        description="Type of the values; a quantized one needs flash attention. (default: f16, unless tuned)",
    )
    profile: bool = Field(
        True, description="on or off: whether what `nucleus tune` found for the file on this machine is used."
    )
    gpu_layers: int | Literal["auto"] = Field("auto", description="Layers to put on a GPU.")
    max_logprobs: int = Field(5, ge=0, le=100, description="Most alternatives a request may ask for.")
    max_requests: int = Field(1024, ge=1, description="Unfinished requests beyond which 429 is answered.")
    max_seconds: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="Seconds after which a request is given up, with 504. (default: none)",
    )

    @model_validator(mode="after")
    def _check_attention(self) -> Self:
        if self.flash_attn == "off" and self.cache_type_v is not None and is_quantized(self.cache_type_v):
            raise contract_error(f"cache_type_v: {self.cache_type_v} needs flash attention, which is off")
        return self
