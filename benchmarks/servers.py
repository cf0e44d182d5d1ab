"""Every server that a benchmark starts: ours in a process or in this one, and the peers in theirs."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import subprocess
import sys
import time
import venv
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import distributions, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from engine.hardware import physical_cores
from engine.serving.auth import ApiKeys
from engine.serving.grpc import start_grpc
from engine.serving.http import create_app
from engine.serving.http_server import HttpServer
from engine.serving.listen import Endpoint

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from engine.service.service import CompletionService

Door = Literal["http", "grpc", "python"]
HOST = "127.0.0.1"
OURS, XLLAMACPP, LLAMA_CPP_PYTHON = "ours", "xllamacpp", "llama-cpp-python"

_PEERS = Path(__file__).parents[1] / "build" / "peers"
_PEERS_PYTHON = _PEERS / "bin" / "python"
_LLAMA_SERVER = Path(__file__).with_name("llama_server.py")
_START_SECONDS = 180.0
_STOP_SECONDS = 15.0


class ServerError(Exception):
    """A server that cannot be installed, or does not start."""


class Setting(NamedTuple):
    """What every server is given alike."""

    model: Path
    """The GGUF file."""
    slots: int = 8
    context: int = 4096
    """Tokens of KV cache that the slots share."""
    threads: int = physical_cores()


class Ports(NamedTuple):
    """Where a server listens; a peer has no gRPC."""

    http: int
    grpc: int


class Running(NamedTuple):
    """A server that takes requests."""

    ports: Ports
    pid: int
    model: str
    """The name that it answers to."""


@dataclass(frozen=True, slots=True)
class Server:
    """One that can be started."""

    name: str
    """What it is called on the command line and in tables."""
    doors: tuple[Door, ...]
    """The ways in that are measured, in the order of their turns."""
    command: Callable[[Setting, Ports, bool], list[Any]]
    """Returns the command that serves; its last argument says whether log-probabilities are asked for."""
    note: str = ""
    """What to know beside its figures."""
    is_told_of_logprobs: bool = False
    """Whether it is started another way where log-probabilities are asked for."""


def _nucleus(setting: Setting, ports: Ports, _logprobs: bool) -> list[Any]:
    return [
        *(Path(sys.executable).with_name("nucleus"), "serve", setting.model, "--host", HOST),
        *("--http-port", ports.http, "--grpc-port", ports.grpc, "--log-level", "warning"),
        *("--parallel", setting.slots, "--ctx-size", setting.context),
        *("--threads", setting.threads, "--gpu-layers", 0),
    ]


def _xllamacpp(setting: Setting, ports: Ports, _logprobs: bool) -> list[Any]:
    arguments = (setting.model, ports.http, setting.context, setting.slots, setting.threads)
    return [_PEERS_PYTHON, "-P", _LLAMA_SERVER, *arguments]


def _nucleus_alone(setting: Setting, ports: Ports, logprobs: bool) -> list[Any]:
    return [*_nucleus(setting, ports, logprobs), "--speculation", "off"]


def _xllamacpp_lookup(setting: Setting, ports: Ports, logprobs: bool) -> list[Any]:
    return [*_xllamacpp(setting, ports, logprobs), "lookup"]


def _llama_cpp_python(setting: Setting, ports: Ports, logprobs: bool) -> list[Any]:
    # It keeps every row of logits to answer log-probabilities. By default it breaks a stream off when
    # the next request comes: that is switched off.
    return [
        *(_PEERS_PYTHON, "-P", "-m", "llama_cpp.server", "--model", setting.model),
        *("--host", HOST, "--port", ports.http, "--n_ctx", setting.context),
        *("--n_threads", setting.threads, "--n_threads_batch", setting.threads),
        *("--logits_all", logprobs, "--interrupt_requests", False, "--verbose", False),
    ]


_XLLAMACPP_NOTE = "llama.cpp's server as its wheel carries it, built for AVX2"
_LLAMA_CPP_PYTHON_NOTE = "one request at a time, whatever the slots"

SERVERS = (
    Server(OURS, ("grpc", "python", "http"), _nucleus),
    Server(XLLAMACPP, ("http",), _xllamacpp, _XLLAMACPP_NOTE),
    Server(LLAMA_CPP_PYTHON, ("http",), _llama_cpp_python, _LLAMA_CPP_PYTHON_NOTE, is_told_of_logprobs=True),
)
"""In the order in which they are measured."""
GUESSING = (
    Server(f"{OURS}, guessing", ("http",), _nucleus),
    Server(OURS, ("http",), _nucleus_alone),
    Server(f"{XLLAMACPP}, guessing", ("http",), _xllamacpp_lookup),
    Server(XLLAMACPP, ("http",), _xllamacpp),
)
"""Those that guess tokens from the text before, and the same without."""


@cache
def install_peers() -> None:
    """Install the servers that are not ours, as far as they are missing.

    llama-cpp-python comes in the version that the engine uses, so that both compute with one llama.cpp, and
    pip has its wheel already.

    Raises:
        ServerError: pip failed; its last line says why.
    """
    wanted = [XLLAMACPP, f"{LLAMA_CPP_PYTHON}[server]=={version(LLAMA_CPP_PYTHON)}"]
    print(f"Installing {' and '.join(wanted)} into {_PEERS}, unless they are there", flush=True)
    venv.create(_PEERS)
    pip = [sys.executable, "-m", "pip", "--python", str(_PEERS_PYTHON), "--disable-pip-version-check"]
    try:
        subprocess.run([*pip, "install", "--quiet", *wanted], check=True, capture_output=True, text=True)  # noqa: S603
    except subprocess.CalledProcessError as error:
        raise ServerError(f"installation failed: {_last_line(error.stdout + error.stderr)}") from None


def peer_versions() -> dict[str, str]:
    """Return the versions of the peers that are installed."""
    packages = [str(folder) for folder in _PEERS.glob("lib/python*/site-packages")]
    found = {package.name.replace("_", "-"): package.version for package in distributions(path=packages)}
    return {name: found[name] for name in (XLLAMACPP, LLAMA_CPP_PYTHON) if name in found}


@contextmanager
def running(server: Server, setting: Setting, log: Path, *, logprobs: bool = False) -> Iterator[Running]:
    """Start a server on free ports, wait until it is ready, and stop it at the end of the context.

    What it prints goes to the file ``log``; ``logprobs`` says whether log-probabilities will be asked for.

    Raises:
        ServerError: it ended, or was not ready in time.
    """
    ports = Ports(free_port(), free_port())
    command = [str(part) for part in server.command(setting, ports, logprobs)]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)  # noqa: S603
    try:
        yield Running(ports, process.pid, _wait_until_ready(process, ports.http, log))
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask a process to end, and kill it if it does not."""
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> str:
    """Return the name of the model that is served."""
    deadline = time.monotonic() + _START_SECONDS
    problem = f"not ready after {_START_SECONDS:.0f} s"
    while time.monotonic() < deadline:
        if name := _served_model(port):
            return name
        if process.poll() is not None:
            problem = f"ended with {process.returncode} at the start"
            break
        time.sleep(0.2)
    raise ServerError(
        f"{problem}: {_last_line(log.read_text(encoding='utf-8', errors='replace'))} (in {log})"
    )


def _served_model(port: int) -> str | None:
    with closing(http.client.HTTPConnection(HOST, port, timeout=5)) as connection:
        try:
            connection.request("GET", "/v1/models")
            response = connection.getresponse()
            return str(json.load(response)["data"][0]["id"]) if response.status == 200 else None
        except (OSError, http.client.HTTPException):
            return None


def _last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2] or "it printed nothing"


def free_port() -> int:
    """Return a port of the loopback interface that nobody has at this moment."""
    with socket.create_server((HOST, 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


@asynccontextmanager
async def serving(service: CompletionService) -> AsyncIterator[Ports]:
    """Open both doors of a service on the running event loop, for as long as the context lasts."""
    with socket.create_server((HOST, 0)) as listening:
        grpc = await start_grpc(service, ApiKeys(), Endpoint(HOST))
        http_server = HttpServer(create_app(service, ApiKeys()))
        task = asyncio.create_task(http_server.serve(sockets=[listening]))
        try:
            yield Ports(listening.getsockname()[1], grpc.port)
        finally:
            http_server.should_exit = True
            await task
            await grpc.stop(_STOP_SECONDS)
