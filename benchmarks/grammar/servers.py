"""Tokens per second of answers of one JSON schema, from our server and from two others, over HTTP.

All have the same model file, context, slots, threads and sampling. Sides take turns.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import httpx2
from llama_cpp.llama_grammar import json_schema_to_gbnf

from benchmarks.engine.test_forms import SCHEMA
from benchmarks.prompts import SAMPLING
from benchmarks.report import Table
from benchmarks.servers import HOST, LLAMA_CPP_PYTHON, SERVERS, Running, Setting, install_peers, running
from engine.models.names import locate
from engine.models.packaged import DEFAULT_MODEL

_TABLE = Table({"a JSON schema over HTTP": "<24", "clients": ">8d", "tokens/s": ">9.1f", "ratio": ">7.2f"})
_N_TOKENS = 128


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.grammar.servers", description=__doc__)
    parser.add_argument("--model", default=DEFAULT_MODEL, help="a name or a file (default: %(default)s)")
    parser.add_argument("--clients", type=int, default=8, help="at once (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="of which medians are taken (default: 3)")
    asked = parser.parse_args()
    install_peers()
    setting = Setting(locate(asked.model).path)
    found: dict[str, list[float]] = {server.name: [] for server in SERVERS}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(asked.rounds):
            for server in SERVERS:
                with running(server, setting, Path(folder) / "log") as one:
                    form = _form_for(server.name)
                    found[server.name].append(asyncio.run(_tokens_per_second(one, form, asked.clients)))
    ours = median(found[SERVERS[0].name])
    print(_TABLE.heading)
    for name, values in found.items():
        print(_TABLE.line(name, asked.clients, median(values), ours / median(values)))


def _form_for(server: str) -> dict[str, Any]:
    if server == LLAMA_CPP_PYTHON:
        return {"grammar": json_schema_to_gbnf(json.dumps(SCHEMA))}
    return {"json_schema": SCHEMA}


async def _tokens_per_second(server: Running, form: dict[str, Any], clients: int) -> float:
    """Return what so many clients get at once, after each has had a first answer."""
    url = f"http://{HOST}:{server.ports.http}/v1/completions"
    fields = {"model": server.model, "prompt": "A patient's record as JSON: "} | SAMPLING | form

    async with httpx2.AsyncClient(timeout=600) as http:

        async def ask(seed: int, max_tokens: int) -> int:
            body = fields | {"seed": seed, "max_tokens": max_tokens}
            answer = (await http.post(url, json=body)).raise_for_status().json()
            return int(answer["usage"]["completion_tokens"])

        await asyncio.gather(*(ask(seed, 8) for seed in range(clients)))
        began = perf_counter()
        tokens = await asyncio.gather(*(ask(seed, _N_TOKENS) for seed in range(clients)))
        return sum(tokens) / (perf_counter() - began)


if __name__ == "__main__":
    main()
