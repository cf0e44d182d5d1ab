"""``nucleus doctor``: what is wrong is found, and a way to mend it is told."""

from __future__ import annotations

import importlib.metadata
import json
import socket
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import PackageNotFoundError
from threading import Thread
from typing import TYPE_CHECKING, Any

from engine import hardware
from engine.loading import diagnosis
from engine.loading.diagnosis import Finding, diagnose
from engine.models.packaged import DEFAULT_MODEL

if TYPE_CHECKING:
    from collections.abc import Iterator
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


def test_whether_a_gateway_finds_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "smg-grpc-proto 0." in find("gateway").value
    version = importlib.metadata.version

    def without(name: str) -> str:
        if name == "smg-grpc-proto":
            raise PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(importlib.metadata, "version", without)
    assert "nucleus-engine[smg]" in find("gateway").value


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
    assert "GGML_NATIVE=on" in found.remedy
    assert not found.is_grave


def test_nothing_can_be_served_without_the_sampler(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUCLEUS_KERNELS", "abacus")
    run = command("doctor")
    assert run.status == 1
    assert "NUCLEUS_KERNELS must be one of" in run.out


@contextmanager
def answering(body: bytes, *, location: str = "", seen: list[str] | None = None) -> Iterator[int]:
    """Give the port of a server that answers everything with one body, or leads elsewhere.

    The paths that it is asked for are added to ``seen``.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if seen is not None:
                seen.append(self.path)
            self.send_response(302 if location else 200)
            if location:
                self.send_header("Location", location)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def test_a_port_that_our_own_server_has_is_no_problem() -> None:
    ready = b'{"status":"ready"}'
    with answering(ready) as port, closing(socket.create_server(("127.0.0.1", 0))) as grpc:
        ports = {"--http-port": port, "--grpc-port": grpc.getsockname()[1]}
        found = [each for each in diagnose(known_variables=(), ports=ports) if each.what == "port"]
    assert [each.problem for each in found] == ["", ""]
    assert all(f"a Nucleus server runs on port {port}" in each.value for each in found)


def test_another_server_on_a_port_is_one() -> None:
    with answering(b"<html>") as port:
        assert find("port", **{"--http-port": port}).problem


def test_models_that_are_here_and_whether_they_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "available_memory", lambda: 1 << 20)
    found = next(
        each.value for each in diagnose(known_variables=(), ports={}) if each.value.startswith(DEFAULT_MODEL)
    )
    assert "leaves nothing for a context: does not fit into the 1 MB" in found


def test_llama_cpp_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.version", version)
    found = find("llama.cpp")
    assert (found.value, found.is_grave) == ("not installed", True)
    assert "nucleus-engine[serve]" in found.remedy
