"""``docs/cli.md``, written from the command itself: ``python -m tests.commands.page``."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"
_INTRODUCTION = """\
# The command

This page is written from the command's own help, by `python -m tests.commands.page`.

Each option of a verb may also be a variable of the environment, as `NUCLEUS_TOP_P=0.9` for `--top-p 0.9`, or
stand in a file:

```toml
# nucleus serve --config nucleus.toml
model = "smollm2-135m-instruct" # for each verb that has this option
ctx-size = 4096

[serve] # for this verb alone
http-port = 9000
```

A flag goes before a variable, and a variable before the file; of the file, the table of a verb goes before
what stands at the top. `nucleus --install-completion` teaches your shell to complete verbs and options.

The exit status is 0 after success, 1 after an error (one line; `nucleus --debug` adds a traceback), 2 after
a wrong flag, 130 after Ctrl-C.
"""
_WHY = "examples of the help; what they name is not here"


def page() -> str:
    """Return the page as it should be."""
    command = ["-m", "typer", "engine.commands.app", "utils", "docs", "--name", "nucleus"]
    run = subprocess.run(
        [sys.executable, *command],
        env=os.environ | {"COLUMNS": "100"},
        capture_output=True,
        text=True,
        check=True,
    )
    verbs = run.stdout[run.stdout.index("## `nucleus serve`") :]
    verbs = re.sub(r"^((?:echo .*\| )?nucleus .*)$", r"```sh\n\1\n```", verbs, flags=re.MULTILINE)
    verbs = verbs.replace("\n```\n\n```sh\n", "\n").replace("```sh\n", f"<!-- not run: {_WHY} -->\n```sh\n")
    verbs = verbs.replace("```console\n$ ", "```text\n")
    return f"{_INTRODUCTION}\n{verbs.strip()}\n"


if __name__ == "__main__":
    PAGE.write_text(page())
