"""Tokens per second of a text that repeats, greedy and alone: llama.cpp's server and ours, guessing and not.

All have the same model file, context and threads; sides take turns.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import httpx2

from benchmarks.engine.test_lookup import TEXTS
from benchmarks.report import Table
from benchmarks.servers import GUESSING, HOST, Running, Setting, install_peers, running
from engine.models.names import locate
from engine.models.packaged import DEFAULT_MODEL

_TABLE = Table({"server": "<24", "tokens/s": ">9.1f", "ratio": ">7.2f", "answers": ">9d"})
_N_TOKENS = 256
_ASKED = 4


def main() -> None:
    """Measure, and print a table: ratios of ours with guesses, and how many different answers there were."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine.lookup_servers", description=__doc__)
    parser.add_argument("--model", default=DEFAULT_MODEL, help="a name or a file (default: %(default)s)")
    parser.add_argument(
        "--text", default="code", choices=[*TEXTS], help="what it is to go on with (default: %(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=3, help="of which medians are taken (default: 3)")
    asked = parser.parse_args()
    install_peers()
    setting = Setting(locate(asked.model).path, slots=1)
    speeds: dict[str, list[float]] = {server.name: [] for server in GUESSING}
    answers: dict[str, set[str]] = {server.name: set() for server in GUESSING}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(asked.rounds):
            for server in GUESSING:
                with running(server, setting, Path(folder) / "log") as one:
                    found = [_ask(one, TEXTS[asked.text]) for _ in range(_ASKED + 1)][
                        1:
                    ]  # the first one computes the prompt
                speeds[server.name] += [speed for speed, _ in found]
                answers[server.name] |= {text for _, text in found}
    ours = median(speeds[GUESSING[0].name])
    print(_TABLE.heading)
    for name, values in speeds.items():
        print(_TABLE.line(name, median(values), ours / median(values), len(answers[name])))
    for with_guesses, without in (GUESSING[:2], GUESSING[2:]):
        same = answers[with_guesses.name] == answers[without.name]
        print(f"{without.name}: {'the same' if same else 'another'} answer with guesses")


def _ask(server: Running, text: str) -> tuple[float, str]:
    """Return the tokens per second of one answer, and its text."""
    fields: dict[str, Any] = {"model": server.model, "prompt": text, "max_tokens": _N_TOKENS}
    url = f"http://{HOST}:{server.ports.http}/v1/completions"
    began = perf_counter()
    response = httpx2.post(url, json=fields | {"temperature": 0, "ignore_eos": True}, timeout=600)
    seconds = perf_counter() - began
    answer = response.raise_for_status().json()
    return answer["usage"]["completion_tokens"] / seconds, answer["choices"][0]["text"]


if __name__ == "__main__":
    main()
