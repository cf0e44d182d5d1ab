"""Runs the command again and again in one process with a real terminal; started by ``test_snapshots``.

Each line of standard input is one run, as a JSON list of arguments. What marks the end of a run is written to
the terminal too.
"""

from __future__ import annotations

import json
import logging
import sys
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from unittest.mock import patch

from huggingface_hub import HfApi

from engine.cli import main
from engine.commands.bench import Load
from engine.contract.state import KvState, RunState, ServerState, SlotState
from engine.loading.diagnosis import Finding
from engine.loading.inventory import CacheUsage, ListedModel
from engine.models.facts import ModelFacts
from engine.service.state import TOTALS
from tests.kinds.files import ModelSpec
from tests.kinds.hostile import SPM
from tests.standins.hub import Hub, Repository
from tests.tuning.candidates import report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

END = "\x1e"
PULLED = "acme/small:Q8_0"


def run(arguments: list[str]) -> None:
    sys.argv = ["nucleus", *arguments]
    try:
        main()
    except SystemExit as end:
        print(f"[{end.code}]{END}", flush=True)
    logging.getLogger().handlers.clear()


def diagnose(**_: object) -> Iterator[Finding]:
    """What a doctor finds on a machine that is not well."""
    yield Finding("python", "3.12.1, Linux x86_64, /srv/nucleus")
    yield Finding(
        "gpu", "none", "There is an NVIDIA driver, but llama.cpp was built without CUDA.", "Build it anew."
    )
    yield Finding(
        "sampler", "cannot be loaded", "No kernel [of any] runs here.", "Install it anew.", is_grave=True
    )


def list_models(_: object) -> list[ListedModel]:
    """Models of all kinds."""
    facts = ModelFacts("llama", 134_515_008, "Q4_1", 8192, 49152, "apache-2.0", 23040)
    large = ModelFacts("qwen3", 235_000_000_000, "Q4_K_M", 131072, 151936, "apache-2.0", 196608)
    return [
        ListedModel("smollm2-135m-instruct", "packaged", Path("a.gguf"), 98_000_000, facts, True),
        ListedModel(
            "someone/a-model-with-a-long-name-GGUF:Q4_K_M",
            "hub",
            Path("b.gguf"),
            142_000_000_000,
            large,
            False,
        ),
        ListedModel("half/there", "hub", None, 12_000_000, ModelFacts(), None, "12 MB of a download"),
    ]


async def measure(*_: object) -> list[Load]:
    """What a machine of average speed does."""
    return [Load(1, 98.76, 31.4, 10.13), Load(16, 1034.5, 212.0, 15.47)]


@contextmanager
def hub() -> Iterator[str]:
    """A hub with one model; gives its address."""
    with Hub() as running, TemporaryDirectory() as folder:
        body = ModelSpec(SPM).write(Path(folder) / "small.gguf").read_bytes()
        running.repositories["acme/small"] = Repository({"small.Q8_0.gguf": body, "small.Q4_0.gguf": body})
        yield running.url


def state(_: object) -> ServerState:
    """A server with two choices of one prompt, and another one."""
    shared, own = RunState(part=0, tokens=120), RunState(part=1, tokens=40)
    fields = {"prompt_tokens": 120, "max_tokens": 256, "preempted": 0}
    return ServerState(
        model="smollm2-135m-instruct",
        uptime_seconds=3725.0,
        n_slots=16,
        slots=[
            SlotState(slot=0, phase="decode", generated_tokens=40, runs=[shared, own], **fields),
            SlotState(slot=1, phase="decode", generated_tokens=12, runs=[shared], **fields),
            SlotState(slot=4, phase="prefill", generated_tokens=0, runs=[], **fields),
        ],
        waiting=7,
        kv=KvState(cells=8192, used=160, deferred=0, saved_prefixes=3),
        totals=dict.fromkeys(TOTALS, 100),
        step_ms={"1": 12.3, "2": 20.1, "3": 30.0, "4": 37.5},
    )


STAND_INS: dict[str, Callable[..., object]] = {
    "engine.loading.diagnosis.diagnose": diagnose,
    "engine.loading.inventory.list_models": list_models,
    "engine.loading.inventory.cache_usage": lambda: CacheUsage(Path("/cache/hub"), 12_000_000, 0, 10**11),
    "engine.commands.bench._measure": measure,
    "engine.tuning.tuner.tune": lambda *_, **__: report(),
    "engine.commands.top._Server.state": state,
    "engine.models.download_plan.free_bytes": lambda _: 10**11,
    "engine.hardware.available_memory": lambda: 2 * 10**9,
}
"""What differs between machines and moments, which is for other tests -> what is seen instead."""

if __name__ == "__main__":
    with ExitStack() as stack:
        url = stack.enter_context(hub())
        stack.enter_context(patch("huggingface_hub.HfApi", partial(HfApi, endpoint=url)))
        for name, stand_in in STAND_INS.items():
            stack.enter_context(patch(name, stand_in))
        for line in sys.argv[1:]:
            run(json.loads(line))
