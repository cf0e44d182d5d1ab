"""Runs a task beside this file through a server, and writes what the harness makes of it.

Its command line would do, but for the index of its own tasks: some ten seconds at each start.

Arguments: the task, the model's arguments as JSON, how many contexts to take, and the file to write. With
`nucleus_choices` that has a line of JSON for each choice: context, continuation, log-likelihood, and whether
greedy decoding would give it; with `nucleus_answers`, a chat, one for each context: messages and answer.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager

MODELS = {"nucleus_choices": "local-completions", "nucleus_answers": "local-chat-completions"}


def main(task: str, arguments: str, limit: str, output: str) -> None:
    results = simple_evaluate(
        model=MODELS[task],
        model_args=json.loads(arguments),
        apply_chat_template=task == "nucleus_answers",
        tasks=[task],
        task_manager=TaskManager(include_path=str(Path(__file__).parent), include_defaults=False),
        limit=int(limit),
        log_samples=True,
        bootstrap_iters=0,
    )
    with Path(output).open("w", encoding="utf-8") as file:
        for sample in results["samples"][task]:
            for asked, (answered,) in zip(sample["arguments"], sample["resps"], strict=True):
                is_text = isinstance(answered, str)
                print(json.dumps([asked[0][0], answered] if is_text else [*asked, *answered]), file=file)


main(*sys.argv[1:])
