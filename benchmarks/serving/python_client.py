"""The client program with the engine in its own process: what the doors over a wire are compared with.

Arguments: a GGUF file, tokens of context that all slots share, slots, threads.
"""

from __future__ import annotations

import sys

from benchmarks.serving.client import do_jobs
from benchmarks.serving.python_caller import PythonCaller
from engine.llm import AsyncLLM


def main(model: str, context: str, slots: str, threads: str) -> None:
    """Load the model as the server does, and do jobs until there are no more."""
    llm = AsyncLLM(model, ctx_size=int(context), parallel=int(slots), threads=int(threads), gpu_layers=0)
    try:
        do_jobs(lambda _job: PythonCaller(llm))
    finally:
        llm.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
