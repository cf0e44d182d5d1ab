"""Runs the command again and again in one process with a real terminal; started by ``test_snapshots``.

Each line of standard input is one run, as a JSON list of arguments. What marks the end of a run is written to
the terminal too.
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from engine.cli import main
from engine.loading import diagnosis, inventory
from engine.loading.diagnosis import Finding
from engine.models.facts import ModelFacts
from engine.loading.inventory import CacheUsage, ListedModel

if TYPE_CHECKING:
    from collections.abc import Iterator

END = "\x1e"


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


if __name__ == "__main__":
    diagnosis.diagnose = diagnose  # what the machine itself is like is for other tests
    inventory.list_models = list_models  # type: ignore[assignment]
    inventory.cache_usage = lambda: CacheUsage(Path("/cache/hub"), 12_000_000, 0, 10**11)
    for line in sys.argv[1:]:
        run(json.loads(line))
