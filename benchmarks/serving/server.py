"""The servers that are compared, all with the same file, context, slots and threads."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from benchmarks.serving.peers import LLAMA_CPP_PYTHON, XLLAMACPP, Environment
from benchmarks.serving.process import HOST
from engine.loading.hardware import physical_cores

if TYPE_CHECKING:
    from benchmarks.serving.job import Door

OURS = "ours"
_LLAMA_SERVER = Path(__file__).with_name("llama_server.py")


@dataclass(frozen=True, slots=True)
class Setting:
    """What every server is given alike."""

    model: Path
    """The GGUF file."""
    slots: int = 8
    """Sequences at once."""
    context: int = 4096
    """Tokens of KV cache that the slots share."""
    threads: int = physical_cores()


class Server(Protocol):
    """One that can be started."""

    @property
    def name(self) -> str:
        """What it is called on the command line and in tables."""

    @property
    def note(self) -> str:
        """What to know beside its figures; empty if nothing."""

    @property
    def doors(self) -> tuple[Door, ...]:
        """The ways in that are measured, in the order of their turns."""

    @property
    def is_told_of_logprobs(self) -> bool:
        """Whether it is started another way where log-probabilities will be asked for."""

    def prepare(self) -> None:
        """Install what is missing.

        Raises:
            ServerError: that failed.
        """

    def command(self, setting: Setting, http_port: int, grpc_port: int, *, logprobs: bool) -> list[str]:
        """Return the command that serves; ``logprobs`` says whether they will be asked for."""


class Nucleus:
    """This project's own."""

    name = OURS
    note = ""
    doors: tuple[Door, ...] = ("grpc", "python", "http")
    is_told_of_logprobs = False

    def prepare(self) -> None:
        """It is what is running this."""

    def command(
        self,
        setting: Setting,
        http_port: int,
        grpc_port: int,
        *,
        logprobs: bool,  # noqa: ARG002
    ) -> list[str]:
        nucleus = Path(sys.executable).with_name("nucleus")
        return [
            *(str(nucleus), "serve", str(setting.model), "--host", HOST),
            *("--http-port", str(http_port), "--grpc-port", str(grpc_port), "--gpu-layers", "0"),
            *("--parallel", str(setting.slots), "--ctx-size", str(setting.context)),
            *("--threads", str(setting.threads), "--log-level", "warning"),
        ]


class Peer:
    """What those that are not ours have in common.

    Args:
        environment: Where they are installed.
    """

    doors: tuple[Door, ...] = ("http",)

    def __init__(self, environment: Environment) -> None:
        self._environment = environment

    def prepare(self) -> None:
        self._environment.install()


class LlamaServer(Peer):
    """llama.cpp's own server in C++, as the wheel ``xllamacpp`` carries it."""

    name = XLLAMACPP
    note = "llama.cpp's server as its wheel carries it, built for AVX2"
    is_told_of_logprobs = False

    def command(
        self,
        setting: Setting,
        http_port: int,
        grpc_port: int,  # noqa: ARG002
        *,
        logprobs: bool,  # noqa: ARG002
    ) -> list[str]:
        return [
            *(str(self._environment.python), "-P", str(_LLAMA_SERVER), str(setting.model), str(http_port)),
            *(str(setting.context), str(setting.slots), str(setting.threads)),
        ]


class LlamaCppPython(Peer):
    """The server of ``llama-cpp-python``, which computes one request at a time.

    It keeps every row of logits when log-probabilities are wanted, and is started without that when they are
    not. By default it breaks a stream off when the next request comes; that is switched off.
    """

    name = LLAMA_CPP_PYTHON
    note = "one request at a time, whatever the slots"
    is_told_of_logprobs = True

    def command(
        self,
        setting: Setting,
        http_port: int,
        grpc_port: int,  # noqa: ARG002
        *,
        logprobs: bool,
    ) -> list[str]:
        return [
            *(str(self._environment.python), "-P", "-m", "llama_cpp.server", "--model", str(setting.model)),
            *("--host", HOST, "--port", str(http_port), "--n_ctx", str(setting.context)),
            *("--n_threads", str(setting.threads), "--n_threads_batch", str(setting.threads)),
            *("--logits_all", str(logprobs).lower(), "--interrupt_requests", "false", "--verbose", "false"),
        ]


def all_servers(environment: Environment) -> list[Server]:
    """Return the servers in the order in which they are measured."""
    return [Nucleus(), LlamaServer(environment), LlamaCppPython(environment)]
