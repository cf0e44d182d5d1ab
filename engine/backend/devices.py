"""The devices that this build of llama.cpp can compute on."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

from engine.backend.llama_log import start_library

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
    from llama_cpp._ggml import libggml as ggml  # the bindings declare none of these functions

    pointer, size = ctypes.c_void_p, ctypes.c_size_t
    ggml.ggml_backend_dev_count.restype = size
    ggml.ggml_backend_dev_get.restype, ggml.ggml_backend_dev_get.argtypes = pointer, [size]
    for text in (ggml.ggml_backend_dev_name, ggml.ggml_backend_dev_description):
        text.restype, text.argtypes = ctypes.c_char_p, [pointer]
    ggml.ggml_backend_dev_type.restype, ggml.ggml_backend_dev_type.argtypes = ctypes.c_int, [pointer]
    ggml.ggml_backend_dev_memory.restype = None
    ggml.ggml_backend_dev_memory.argtypes = [pointer, ctypes.POINTER(size), ctypes.POINTER(size)]
    found = []
    for number in range(ggml.ggml_backend_dev_count()):
        device, free, total = ggml.ggml_backend_dev_get(number), size(), size()
        ggml.ggml_backend_dev_memory(device, free, total)
        found.append(
            Device(
                name=ggml.ggml_backend_dev_name(device).decode(),
                description=ggml.ggml_backend_dev_description(device).decode(),
                kind=_KINDS.get(ggml.ggml_backend_dev_type(device), "unknown"),
                free_bytes=free.value,
                total_bytes=total.value,
            )
        )
    return found
