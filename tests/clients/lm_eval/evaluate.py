"""Scores the task beside this file through a server, and writes what the harness makes of every choice.

Its command line would do, but for the index of its own tasks: some ten seconds at each start.

Arguments: the model's arguments as JSON, how many contexts to score, and the file to write, which has a line
of JSON for each choice: context, continuation, log-likelihood, and whether greedy decoding would give it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager

TASK = "nucleus_choices"


def main(arguments: str, limit: str, output: str) -> None:
    results = simple_evaluate(
        model="local-completions",
        model_args=json.loads(arguments),
        tasks=[TASK],
        task_manager=TaskManager(include_path=str(Path(__file__).parent), include_defaults=False),
        limit=int(limit),
        log_samples=True,
        bootstrap_iters=0,
    )
    with Path(output).open("w", encoding="utf-8") as file:
        for sample in results["samples"][TASK]:
            for asked, ((logprob, is_greedy),) in zip(sample["arguments"], sample["resps"], strict=True):
                print(json.dumps([*asked, logprob, is_greedy]), file=file)


main(*sys.argv[1:])
