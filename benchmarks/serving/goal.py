"""What our server is meant to reach, beside others and beside the engine alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.serving.peers import LLAMA_CPP_PYTHON, XLLAMACPP
from benchmarks.serving.server import OURS

if TYPE_CHECKING:
    from benchmarks.serving.job import Door

CLIENTS = 8
"""The closed loop that the goals are about."""

LOGPROBS = 5
"""What the requests ask for in the second half of the goals; in the first they ask for none."""

_PEERS: dict[str, dict[str, float]] = {
    "smollm2-135m-instruct": {XLLAMACPP: 1.25, LLAMA_CPP_PYTHON: 2.5},
    "gemma-3-270m": {XLLAMACPP: 2.0, LLAMA_CPP_PYTHON: 4.0},
}
"""Model -> peer -> least ratio of our tokens per second over HTTP to the peer's."""

_ENGINE: dict[Door, float] = {"http": 0.93, "grpc": 0.95}
"""Door -> least ratio of its tokens per second to those of the engine in the client's own process."""


@dataclass(frozen=True, slots=True)
class Goal:
    """A door of ours, and what it is compared with."""

    ours: Door
    server: str
    door: Door
    least: float
    """The least ratio of ours to the other's tokens per second."""

    @property
    def title(self) -> str:
        """Name the two."""
        other = "the engine in process" if self.server == OURS else self.server
        return f"{self.ours} against {other}"


def goals(model: str) -> list[Goal]:
    """Return the goals for a model; one that is not packaged has none beside the peers."""
    peers = [Goal("http", peer, "http", least) for peer, least in _PEERS.get(model, {}).items()]
    return peers + [Goal(door, OURS, "python", least) for door, least in _ENGINE.items()]
