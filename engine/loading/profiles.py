"""What ``nucleus tune`` has found for a model file on this machine, kept in the cache folder."""

from __future__ import annotations

import datetime  # noqa: TC003  (pydantic reads the annotations)
import logging
from dataclasses import dataclass
from pathlib import Path  # noqa: TC003
from typing import TYPE_CHECKING, Final

from pydantic import TypeAdapter, ValidationError

from engine import hardware
from engine.backend.cache_types import DEFAULT_CACHE_TYPE, CacheType, FlashAttention
from engine.models.notes import Note

if TYPE_CHECKING:
    from engine.loading.options import EngineOptions

log = logging.getLogger("nucleus.loading")

BATCH: Final = 512
"""Tokens in one step, at least; llama.cpp computes no larger piece at once by default."""
_RULES: Final = 1
"""To be raised with what a profile means: older ones are forgotten."""


@dataclass(frozen=True, slots=True)
class RunSettings:
    """How a model is run: what changes its speed on a machine. Attention changes its logits, too."""

    threads: int
    ubatch_size: int
    flash_attn: FlashAttention = "auto"
    cache_type_k: CacheType = DEFAULT_CACHE_TYPE
    cache_type_v: CacheType = DEFAULT_CACHE_TYPE

    @property
    def attention(self) -> tuple[FlashAttention, CacheType, CacheType]:
        """What goes together: not every type goes with every kind of attention."""
        return self.flash_attn, self.cache_type_k, self.cache_type_v


def default_settings() -> RunSettings:
    """Return how a model is run on this machine where nothing is asked for or tuned."""
    return RunSettings(threads=hardware.physical_cores(), ubatch_size=BATCH)


@dataclass(frozen=True, slots=True)
class FasterFile:
    """A converted file, written where the user wanted it; it is named, and never used by itself."""

    path: Path
    n_bytes: int
    streams: int
    speedup: float
    """Its tokens per second at so many streams, in those of the original."""
    mean_kl: float
    """Mean Kullback-Leibler divergence from the original, in nats a token."""

    def is_there(self) -> bool:
        """Return True if the file still has the size with which it was written."""
        try:
            return self.path.stat().st_size == self.n_bytes
        except OSError:
            return False


@dataclass(frozen=True, slots=True)
class Profile:
    """What was chosen for a file, and what it is worth beside the settings that are chosen without one."""

    date: datetime.date
    settings: RunSettings
    streams: int
    speedup: float
    mean_kl: float
    faster_file: FasterFile | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a profile holds: one file, one processor with its kernels, so many cores and layers on a GPU."""

    path: Path
    kernels: str
    gpu_layers: int

    def read(self) -> Profile | None:
        """Return the profile of the file as it is now; None if there is none, or it cannot be read."""
        text = self._note().read()
        if text is None:
            return None
        try:
            return _PROFILE.validate_json(text)
        except ValidationError:
            log.warning("the profile of %s cannot be read: `nucleus tune` makes a new one", self.path)
            return None

    def write(self, profile: Profile) -> None:
        """Keep a profile in place of the one before."""
        self._note().write(_PROFILE.dump_json(profile).decode())

    def _note(self) -> Note:
        machine = hardware.processor(), hardware.physical_cores(), self.kernels, self.gpu_layers
        return Note("profiles", self.path, _RULES, *machine)


_PROFILE: Final = TypeAdapter(Profile)


def settings_with(
    options: EngineOptions, profile: Profile | None, default: RunSettings
) -> tuple[RunSettings, dict[str, str]]:
    """Return how a model is run, and for each part why: ``as asked``, ``tuned on …``, or nothing by default.

    What was asked for counts first, then the profile, then the default. How attention is computed is one
    part: who asks for some of it gets nothing of it from the profile.

    Args:
        options: What was asked for.
        profile: What was found, if anything was.
        default: What is chosen without either.
    """
    tuned = profile.settings if profile else default
    why = f"tuned on {profile.date}" if profile else ""
    asked = (
        options.cache_type_k is not None or options.cache_type_v is not None or options.flash_attn != "auto"
    )
    base = default if asked else tuned
    settings = RunSettings(
        threads=options.threads or tuned.threads,
        ubatch_size=options.ubatch_size or tuned.ubatch_size,
        flash_attn=options.flash_attn if asked else base.flash_attn,
        cache_type_k=options.cache_type_k or base.cache_type_k,
        cache_type_v=options.cache_type_v or base.cache_type_v,
    )
    reasons = {
        "threads": "as asked" if options.threads else why,
        "ubatch": "as asked" if options.ubatch_size else why * (tuned.ubatch_size != default.ubatch_size),
        "attention": "as asked" if asked else why * (tuned.attention != default.attention),
    }
    return settings, reasons
