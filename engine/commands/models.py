"""``nucleus models``, ``pull`` and ``rm``: what is on this machine, what comes to it, and what goes."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from engine.commands.completion import pulled_names
from engine.commands.terminal import harmless, out, quiet_logging, write_json
from engine.models.display import format_size

if TYPE_CHECKING:
    from engine.loading.inventory import ListedModel

_JSON = typer.Option("--json", metavar="", help="Print JSON.")
_SHORT_OF_ROOM = 80
"""Columns below which each model has lines of its own."""


def models(
    folders: Annotated[
        list[Path] | None, typer.Argument(metavar="FOLDER", help="Look for GGUF files in here, too.")
    ] = None,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """List the models on this machine: packaged ones, those pulled from the hub, and those in folders.

    Under "seeds" it says whether a seed repeats beside other requests, to the bit; that is known once the
    model was served. It "fits" if memory holds it with the context that `serve` would choose.

    nucleus models

    nucleus models ~/gguf --json
    """
    from engine.loading.inventory import cache_usage, list_models

    quiet_logging()
    found, usage = list_models([folder.expanduser() for folder in folders or ()]), cache_usage()
    if as_json:
        write_json({"models": [_as_json(model) for model in found], "cache": usage.as_json()})
        return
    if out.width < _SHORT_OF_ROOM:
        _print_blocks(found)
    else:
        out.print(_table(found), soft_wrap=False)
    for model in found:
        if model.problem is not None:
            out.print(f"{harmless(model.name)}: {harmless(model.problem)}", style="yellow", markup=False)
    free = "" if usage.free is None else f", {format_size(usage.free)} free"
    out.print(f"pulled: {format_size(usage.models + usage.partial)} in {usage.folder}{free}", markup=False)


def pull(
    name: Annotated[str, typer.Argument(metavar="USER/REPO[:QUANT]", help="The model's name on the hub.")],
    offline: Annotated[
        bool, typer.Option("--offline", metavar="", help="Ask nobody: check what is here already.")
    ] = False,
) -> None:
    """Fetch a model from the hub: say how large it is and whether it fits, then download and check it.

    nucleus pull user/repo:Q4_K_M

    Run it again after an interruption: it goes on where it stopped. HF_TOKEN, HF_ENDPOINT and HF_HOME are
    huggingface_hub's own.
    """
    from engine.models.pull import pull as fetch

    quiet_logging()
    file = fetch(name, offline=offline, say=lambda line: print(harmless(line), flush=True))
    print(f"It is here: nucleus serve {file.name}")


def rm(
    name: Annotated[
        str,
        typer.Argument(metavar="USER/REPO[:QUANT]", help="The model to remove.", autocompletion=pulled_names),
    ],
    everything: Annotated[
        bool,
        typer.Option("--all", metavar="", help="All models of the repository, and what is only half here."),
    ] = False,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Remove a model that was pulled from the hub; others are left alone.

    nucleus rm user/repo:Q4_K_M
    """
    from engine.models.removal import remove

    quiet_logging()
    removed = remove(name, everything=everything)
    if as_json:
        write_json(removed.as_json())
        return
    for file in removed.files:
        print(f"removed {harmless(file)}")
    print(f"{format_size(removed.freed)} are free again.")


def _as_json(model: ListedModel) -> dict[str, object]:
    fit = model.fit()
    return {**model.as_json(), "memory": None if fit is None else fit.as_json()}


def _table(found: list[ListedModel]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    longest = max((len(model.name) for model in found), default=0)
    table.add_column("model", overflow="fold", style="bold", min_width=min(longest, 30))
    for name in ("size", "params", "quant", "ctx", "vocab"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("licence", "seeds", "fits"):
        table.add_column(name, overflow="fold")
    for model in found:
        table.add_row(harmless(model.name), *_cells(model).values())
    return table


def _print_blocks(found: list[ListedModel]) -> None:
    for model in found:
        out.print(harmless(model.name), style="bold", markup=False)
        for what, value in _cells(model).items():
            if value != "-":
                out.print(f"  {what:<7} {value}", markup=False)


def _cells(model: ListedModel) -> dict[str, str]:
    facts, fit = model.facts, model.fit()
    fits = {True: "yes", False: "no", None: "-"}[fit.fits if fit else None]
    return {
        "size": "-" if model.n_bytes is None else format_size(model.n_bytes),
        "params": "-" if facts.parameters is None else _millions(facts.parameters),
        "quant": harmless(facts.quantisation or "-"),
        "ctx": "-" if facts.context is None else f"{facts.context}",
        "vocab": "-" if facts.vocabulary is None else f"{facts.vocabulary}",
        "licence": harmless(facts.licence or "-"),
        "seeds": {True: "yes", False: "no", None: "-"}[model.batch_invariant],
        "fits": fits,
    }


def _millions(parameters: int) -> str:
    return f"{parameters / 1e9:.1f}B" if parameters >= 1e9 else f"{parameters / 1e6:.0f}M"
