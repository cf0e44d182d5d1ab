"""The verbs of the command ``nucleus``, and what they print."""

from __future__ import annotations

import logging
import sys
from functools import partial
from typing import Annotated

import typer
from rich.console import Console

from engine import __version__
from engine.settings import ENV_PREFIX, CompleteSettings, ServeSettings, takes

app = typer.Typer(
    name="nucleus",
    help="The completions contract on your own hardware.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_out = Console(highlight=False, soft_wrap=True)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"nucleus {__version__}")
        raise typer.Exit


def _debug(context: typer.Context, wanted: bool) -> None:
    context.obj.shows_traceback = wanted


@app.callback()
def _options(
    debug: Annotated[
        bool,
        typer.Option(
            "--debug",
            envvar=f"{ENV_PREFIX}DEBUG",
            callback=_debug,
            is_eager=True,
            help="Show the traceback of whatever fails.",
        ),
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    pass


@app.command()
@takes(ServeSettings, argument="model")
def serve(settings: ServeSettings) -> None:
    """Serve a model over HTTP and gRPC."""
    from engine.serving.background_log import BackgroundLog
    from engine.serving.server import run

    _configure_logging(settings.log_level, BackgroundLog(sys.stderr.fileno()))
    run(settings, say=partial(_out.print, markup=False))  # an IPv6 address stands in brackets


@app.command()
@takes(CompleteSettings, argument="prompt")
def complete(settings: CompleteSettings) -> None:
    """Continue a prompt in this terminal."""
    from engine.llm import LLM

    _configure_logging("critical", logging.StreamHandler())  # a failure is told once, when the command ends
    request = {"prompt", "max_tokens", "temperature", "top_p", "seed"}
    with LLM(**settings.model_dump(exclude=request)) as llm:
        for chunk in llm.stream(**settings.model_dump(include=request)):
            print(chunk.choices[0].text, end="", flush=True)
    print()


def _configure_logging(level: str, handler: logging.Handler) -> None:
    logging.basicConfig(
        level=level.upper(),
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
        handlers=[handler],
    )
    logging.getLogger("uvicorn.error").setLevel("WARNING")  # its start-up lines say what ours have said
