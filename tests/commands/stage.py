"""Runs the command again and again in one process with a real terminal; started by ``test_snapshots``.

Each line of standard input is one run, as a JSON list of arguments. What marks the end of a run is written to
the terminal too.
"""

from __future__ import annotations

import json
import logging
import sys

from engine.cli import main

END = "\x1e"


def run(arguments: list[str]) -> None:
    sys.argv = ["nucleus", *arguments]
    try:
        main()
    except SystemExit as end:
        print(f"[{end.code}]{END}", flush=True)
    logging.getLogger().handlers.clear()


if __name__ == "__main__":
    for line in sys.argv[1:]:
        run(json.loads(line))
