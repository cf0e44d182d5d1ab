"""The devices that this build of llama.cpp can compute on."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

from engine.backend.ggml import ggml
from engine.backend.llama_log import start_library

_POINTER, _SIZE = ctypes.c_void_p, ctypes.c_size_t
_KINDS = {0: "CPU", 1: "GPU", 2: "integrated GPU", 3: "accelerator"}
"""ggml's numbers for a kind of device."""


@dataclass(frozen=True, slots=True)
class Device:
    """One device, as ggml describes it; memory in bytes, 0 where it does not tell."""

    name: str
    description: str
    kind: str
    free_bytes: int
    total_bytes: int

    @property
    def is_gpu(self) -> bool:
        """True for what ``--gpu-layers`` can put layers on."""
        return self.kind in ("GPU", "integrated GPU")


def devices() -> list[Device]:
    """Return the devices, the CPU among them."""
    start_library()
    count = ggml("ggml_backend_dev_count", _SIZE)
    return [_device(number) for number in range(count())]


def _device(number: int) -> Device:
    handle = ggml("ggml_backend_dev_get", _POINTER, _SIZE)(number)
    free, total = _SIZE(), _SIZE()
    ggml("ggml_backend_dev_memory", None, _POINTER, *[ctypes.POINTER(_SIZE)] * 2)(handle, free, total)
    return Device(
        name=ggml("ggml_backend_dev_name", ctypes.c_char_p, _POINTER)(handle).decode(),
        description=ggml("ggml_backend_dev_description", ctypes.c_char_p, _POINTER)(handle).decode(),
        kind=_KINDS.get(ggml("ggml_backend_dev_type", ctypes.c_int, _POINTER)(handle), "unknown"),
        free_bytes=free.value,
        total_bytes=total.value,
    )
