"""What ``nucleus tune`` can be told."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from engine.loading.options import MAX_PARALLEL
from engine.models.packaged import DEFAULT_MODEL


class TuneSettings(BaseModel):
    """What to measure, how long, and where to write."""

    model_config = ConfigDict(extra="forbid")

    model: str = Field(
        DEFAULT_MODEL, description="A GGUF file, a packaged model's name, or user/repo:QUANT of the hub."
    )
    streams: int = Field(
        8, ge=1, le=MAX_PARALLEL, description="Texts generated at once, for which the fastest is chosen."
    )
    max_kl: float = Field(
        0.02,
        ge=0,
        allow_inf_nan=False,
        description="Most loss of quality: mean KL divergence from the original, in nats a token.",
    )
    seconds: float = Field(
        540.0, ge=1, le=86400, description="How long it may take; what there is no time for is left out."
    )
    output: Path | None = Field(
        None, description="Where to write the converted file, if one is chosen; nothing is written over."
    )
    plot: Path | None = Field(
        None, description="Where to draw speed against loss: a new file, such as tune.svg or tune.png."
    )
    files: bool = Field(True, description="on or off: whether other file types are tried.")
    profile: bool = Field(True, description="on or off: whether what was chosen is kept for serve and LLM.")
    batch_invariant: Literal["auto", "off"] = Field(
        "auto",
        description="off: what no longer repeats seeds beside other requests may be chosen, too.",
    )
    gpu_layers: int | Literal["auto"] = Field("auto", description="Layers to put on a GPU.")
    work_dir: Path | None = Field(
        None, description="Folder for temporary files. (default: in the cache folder)"
    )
