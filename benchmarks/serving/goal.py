"""What our server is meant to reach beside the others."""

from __future__ import annotations

from benchmarks.serving.peers import LLAMA_CPP_PYTHON, XLLAMACPP

CLIENTS = 8
"""The closed loop that the goals are about."""

GOALS: dict[str, dict[str, float]] = {
    "smollm2-135m-instruct": {XLLAMACPP: 1.25, LLAMA_CPP_PYTHON: 2.5},
    "gemma-3-270m": {XLLAMACPP: 2.0, LLAMA_CPP_PYTHON: 4.0},
}
"""Model -> peer -> least ratio of our tokens per second over HTTP to the peer's."""
