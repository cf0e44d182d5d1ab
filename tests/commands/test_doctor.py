"""``nucleus doctor``: what is wrong is found, and a way to mend it is told."""

from __future__ import annotations

import json
import socket
from contextlib import closing
from typing import TYPE_CHECKING, Any

from engine import hardware
from engine.loading import diagnosis
from engine.loading.diagnosis import Finding, diagnose

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from tests.commands.run import Command


def find(what: str, **ports: int) -> Finding:
    return next(
        finding for finding in diagnose(known_variables={"NUCLEUS_PORT"}, ports=ports) if finding.what == what
    )


def test_a_machine_that_is_well(command: Command) -> None:
    run = command("doctor", "--json")
    assert run.status == 0
    found: dict[str, dict[str, Any]] = {finding["what"]: finding for finding in json.loads(run.out)}
    assert {"python", "llama.cpp", "gpu", "sampler", "cores", "memory", "cache", "port"} <= found.keys()
    assert not any(finding["is_grave"] for finding in found.values())


def test_variables_that_mean_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUCLEUS_PROT", "1")
    found = find("variable")
    assert (found.value, found.remedy) == ("NUCLEUS_PROT", "Did you mean NUCLEUS_PORT?")


def test_every_flag_of_a_verb_is_a_variable_that_means_something(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PORT", "TOP_P", "CONFIG", "DEBUG", "KERNELS", "MODEL"):
        monkeypatch.setenv(f"NUCLEUS_{name}", "1" if name not in ("CONFIG", "KERNELS") else "")
    assert "means nothing" not in command("doctor").out


def test_a_port_that_is_taken() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        found = find("port", **{"--http-port": taken.getsockname()[1]})
    assert found.problem
    assert found.remedy == "nucleus serve --http-port 0"


def test_little_memory_and_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "available_memory", lambda: 1 << 20)
    monkeypatch.setattr(diagnosis, "_LITTLE_DISK", 1 << 60)
    assert "1 MB" in find("memory").value
    assert find("memory").remedy
    assert "nucleus rm" in find("cache").remedy


def test_a_cache_that_cannot_be_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("os.access", lambda *_: False)
    assert "XDG_CACHE_HOME" in find("cache").remedy


def test_a_build_without_what_the_processor_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "read_text", lambda _: "flags : avx2 fma avx512f")
    monkeypatch.setattr(
        "engine.backend.llama_model.kernels", lambda: "CPU : AVX2 = 1 | FMA = 1 | AVX512 = 0 | "
    )
    found = find("llama.cpp")
    assert "AVX512" in found.problem
    assert "AVX2," not in found.problem
    assert "GGML_NATIVE=ON" in found.remedy
    assert not found.is_grave


def test_nothing_can_be_served_without_the_sampler(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUCLEUS_KERNELS", "abacus")
    run = command("doctor")
    assert run.status == 1
    assert "NUCLEUS_KERNELS must be one of" in run.out
