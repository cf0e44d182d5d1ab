"""What this machine and this installation are, what is wrong with them, and how to mend it."""

from __future__ import annotations

import difflib
import importlib.metadata
import json
import os
import platform
import shutil
import socket
import sys
from dataclasses import asdict, dataclass
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING, Any

from engine import hardware
from engine.loading.inventory import list_models
from engine.models.display import format_size, printable
from engine.models.packaged import cache_folder

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

_LITTLE_MEMORY = 512 << 20
_LITTLE_DISK = 1 << 30
_PATIENCE_S = 1.0
_FEATURES = {"avx512f": "AVX512", "avx2": "AVX2", "fma": "FMA", "f16c": "F16C"}
"""What /proc/cpuinfo calls a feature of the processor -> what llama.cpp calls it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        what: What it is.
        value: How it is.
        problem: What is wrong with it; empty: nothing.
        remedy: What to do about that.
        is_grave: Whether nothing can be served before that is done.
    """

    what: str
    value: str
    problem: str = ""
    remedy: str = ""
    is_grave: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self)


def diagnose(*, known_variables: Collection[str], ports: Mapping[str, int]) -> Iterator[Finding]:
    """Look at everything, and yield what is found, one thing after another.

    Args:
        known_variables: The ``NUCLEUS_*`` variables of the environment that mean something.
        ports: Flag -> the port that a server would take without it.
    """
    yield _python()
    yield from _llama()
    yield _sampler()
    yield _cores()
    yield _memory()
    yield _cache()
    yield from _models()
    yield _gateway()
    yield from _ports(ports)
    yield from _variables(known_variables)


def _python() -> Finding:
    value = f"{platform.python_version()}, {platform.system()} {platform.machine()}, {sys.prefix}"
    return Finding("python", value)


def _llama() -> Iterator[Finding]:
    try:
        version = importlib.metadata.version("llama-cpp-python")
    except importlib.metadata.PackageNotFoundError:
        install = "pip install 'nucleus-engine[serve]'"
        yield Finding("llama.cpp", "not installed", "Nothing can be computed.", install, is_grave=True)
        return
    try:
        from engine.backend.devices import devices
        from engine.backend.llama_model import kernels
    except (ImportError, OSError, RuntimeError) as error:
        reason = f"It cannot be loaded: {printable(str(error))}."
        yield Finding("llama.cpp", f"llama-cpp-python {version}", reason, _build_anew(version), is_grave=True)
        return
    built = {
        part.partition("=")[0].strip().rpartition(" ")[2] for part in kernels().split("|") if "= 1" in part
    }
    missing = [ours for name, ours in _FEATURES.items() if name in _cpu_flags() and ours not in built]
    yield Finding(
        "llama.cpp",
        f"llama-cpp-python {version}: {' '.join(sorted(built)) or 'no special instructions'}",
        f"This processor has {', '.join(missing)}, which it was built without: it is slower than it could be."
        if missing
        else "",
        _build_anew(version, "-DGGML_NATIVE=on") if missing else "",
    )
    gpus = [device for device in devices() if device.is_gpu]
    for device in gpus:
        memory = f", {format_size(device.free_bytes)} of {format_size(device.total_bytes)} free"
        yield Finding("gpu", f"{device.name} {device.description}{memory if device.total_bytes else ''}")
    if not gpus:
        unused = shutil.which("nvidia-smi") is not None
        yield Finding(
            "gpu",
            "none that this build of llama.cpp can use",
            "There is an NVIDIA driver, but llama.cpp was built without CUDA." if unused else "",
            _build_anew(version, "-DGGML_CUDA=on") if unused else "",
        )


def _build_anew(version: str, flags: str = "") -> str:
    """Return the command that compiles the llama.cpp that is installed once more."""
    setting = f'CMAKE_ARGS="{flags}" ' if flags else ""
    return f"{setting}pip install --force-reinstall --no-cache-dir --no-deps 'llama-cpp-python=={version}'"


def _sampler() -> Finding:
    try:
        from engine.sampling import KERNELS, Sampler

        used = Sampler(2, 1).kernels
    except (ImportError, ValueError) as error:
        return Finding(
            "sampler",
            "cannot be loaded",
            f"{error}.",
            "pip install --force-reinstall --no-deps nucleus-engine; from a clone: make serve",
            is_grave=True,
        )
    return Finding("sampler", f"{used} (this processor can run {', '.join(KERNELS)})")


def _cores() -> Finding:
    cores, processors = hardware.physical_cores(), os.cpu_count() or 1
    return Finding("cores", f"{cores} to use, of {processors} hardware threads of the machine")


def _memory() -> Finding:
    free = hardware.available_memory()
    if free is None:
        return Finding("memory", "unknown on this system")
    little = free < _LITTLE_MEMORY
    return Finding(
        "memory",
        f"{format_size(free)} free",
        "That is little: most models need more." if little else "",
        "End other programs, or take a smaller model and --ctx-size." if little else "",
    )


def _cache() -> Finding:
    folder = cache_folder()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    value = f"{folder}, {format_size(free)} free"
    if not os.access(existing, os.W_OK):
        return Finding("cache", value, "It cannot be written.", "Set XDG_CACHE_HOME to a folder that can be.")
    if free < _LITTLE_DISK:
        return Finding("cache", value, "The disk is nearly full.", "nucleus models; nucleus rm NAME")
    return Finding("cache", value)


def _models() -> Iterator[Finding]:
    """Look at each model that is here: whether it can be used, and whether it fits."""
    for model in list_models():
        fit = model.fit()
        yield Finding("model", f"{printable(model.name)}: {printable(model.problem or str(fit))}")


def _gateway() -> Finding:
    """Look whether a server here can be a worker of the gateway SMG over gRPC."""
    try:
        version = importlib.metadata.version("smg-grpc-proto")
    except importlib.metadata.PackageNotFoundError:
        return Finding("gateway", "SMG takes a server over HTTP; over gRPC with nucleus-engine[smg]")
    return Finding("gateway", f"SMG takes a server over HTTP, and over gRPC (smg-grpc-proto {version})")


def _ports(ports: Mapping[str, int]) -> Iterator[Finding]:
    taken = {port: reason for port in ports.values() if (reason := _reason_not_to_listen(port))}
    ours = next((port for port in taken if _is_nucleus(port)), None)
    for flag, port in ports.items():
        if port not in taken:
            yield Finding("port", f"{port} is free")
        elif ours is not None:
            yield Finding("port", f"{port} is taken: a Nucleus server runs on port {ours}")
        else:
            problem = f"It cannot be listened on: {taken[port]}."
            yield Finding("port", str(port), problem, f"nucleus serve {flag} 0")


def _reason_not_to_listen(port: int) -> str:
    with socket.socket() as tried:
        try:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind(("127.0.0.1", port))
        except OSError as error:
            return error.strerror or str(error)
    return ""


def _is_nucleus(port: int) -> bool:
    """Return True if a server on this machine says that it is ready, as ours does."""
    connection = HTTPConnection("127.0.0.1", port, timeout=_PATIENCE_S)
    try:
        connection.request("GET", "/ready")
        said = json.loads(connection.getresponse().read(1024))
    except (OSError, HTTPException, ValueError):
        return False
    finally:
        connection.close()
    return bool(said == {"status": "ready"})


def _variables(known: Collection[str]) -> Iterator[Finding]:
    for name in sorted(os.environ):
        if name.startswith("NUCLEUS_") and name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            remedy = f"Did you mean {close[0]}?" if close else "Unset it."
            yield Finding("variable", name, "It means nothing to Nucleus.", remedy)


def _cpu_flags() -> set[str]:
    for line in (hardware.read_text("/proc/cpuinfo") or "").splitlines():
        if line.startswith("flags"):
            return set(line.partition(":")[2].split())
    return set()
