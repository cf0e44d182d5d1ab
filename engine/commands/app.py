"""The command's tree: its own options, and its verbs in the order of the help."""

from __future__ import annotations

import shutil
from typing import Annotated

import typer

from engine import __version__
from engine.commands.bench import bench
from engine.commands.chat import chat
from engine.commands.complete import complete
from engine.commands.doctor import doctor
from engine.commands.models import models, pull, rm
from engine.commands.score import score
from engine.commands.serve import serve
from engine.commands.tokenize import tokenize
from engine.commands.top import top
from engine.commands.tune import tune
from engine.settings import ENV_PREFIX

_WIDE = 60
_COLUMNS = shutil.get_terminal_size().columns
_EPILOG = (
    "Each option of a verb may also be a variable of the environment, as NUCLEUS_TOP_P=0.9 for --top-p 0.9, "
    "or stand in a file, as top-p = 0.9 in --config nucleus.toml."
)

app = typer.Typer(
    name="nucleus",
    help="The completions contract on your own hardware.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    # On a narrow screen rich's table cuts the names of the options.
    rich_markup_mode="markdown" if _COLUMNS >= _WIDE else None,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "terminal_width": _COLUMNS},
)

_PANELS = {
    "Run a model": (serve, complete, chat, top),
    "Look at texts": (tokenize, score),
    "Models": (models, pull, rm),
    "This machine": (tune, bench, doctor),
}
for _panel, _verbs in _PANELS.items():
    for _verb in _verbs:
        app.command(rich_help_panel=_panel)(_verb)


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
            show_envvar=False,
            metavar="",
            callback=_debug,
            is_eager=True,
            help="Show the traceback of whatever fails.",
        ),
    ] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", metavar="", callback=_version, is_eager=True, help="Print the version and leave."
        ),
    ] = False,
) -> None:
    pass
