"""The command ``nucleus``: verbs, what they print, and how they end."""

from __future__ import annotations

import logging
import sys
from typing import Annotated

import typer
from rich.console import Console

from engine import __version__
from engine.errors import EngineError
from engine.settings import CompleteSettings, ServeSettings, takes

app = typer.Typer(
    name="nucleus",
    help="The completions contract on your own hardware.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_out = Console(highlight=False, soft_wrap=True)
_INTERRUPTED = 130  # what a shell reports for a process that Ctrl-C ended


def main() -> None:
    """Run the command; an error is one line and a non-zero exit, never a traceback."""
    try:
        app()
    except EngineError as error:
        print(f"nucleus: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"nucleus {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    pass


@app.command()
@takes(ServeSettings, argument="model")
def serve(settings: ServeSettings) -> None:
    """Serve a model over HTTP and gRPC."""
    from engine.serving.server import run

    _configure_logging(settings.log_level)
    run(settings, say=_out.print)


@app.command()
@takes(CompleteSettings, argument="prompt")
def complete(settings: CompleteSettings) -> None:
    """Continue a prompt in this terminal."""
    from engine.llm import LLM

    _configure_logging("error")
    request = {"prompt", "max_tokens", "temperature", "top_p", "seed"}
    with LLM(**settings.model_dump(exclude=request)) as llm:
        for chunk in llm.stream(**settings.model_dump(include=request)):
            print(chunk.choices[0].text, end="", flush=True)
    print()


def _configure_logging(level: str) -> None:
    logging.basicConfig(
        level=level.upper(), format="%(asctime)s %(levelname)-7s %(name)s: %(message)s", stream=sys.stderr
    )
    logging.getLogger("uvicorn.error").setLevel("WARNING")  # its start-up lines say what ours have said
