"""``nucleus tune``."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from engine.commands.options import SettingsOptions, takes
from engine.commands.terminal import out, quiet_logging, write_json
from engine.tuning.settings import TuneSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from engine.tuning.budget import Progress


@takes(settings=SettingsOptions(TuneSettings, argument="model"))
def tune(
    settings: TuneSettings,
    *,
    as_json: Annotated[
        bool, typer.Option("--json", metavar="", help="Print JSON, with all figures.")
    ] = False,
) -> None:
    """Find out what is fastest for a model on this machine, and what that costs in quality.

    nucleus tune

    nucleus tune my-model.gguf --streams 16 --output my-model-tuned.gguf --plot tune.svg

    Threads, batches, flash attention, types of the KV cache and, on a CPU, of the weights are measured beside
    the file you have. The settings that are chosen hold for this file on this machine from then on, for
    `serve` and for `LLM`. Nothing is written over.
    """
    from engine.tuning.plot import plot
    from engine.tuning.table import ReportTable
    from engine.tuning.tuner import tune as find_out

    quiet_logging()
    with _progress() as show:
        report = find_out(settings, progress=show)
    if settings.plot is not None:
        plot(report, settings.plot)
    if as_json:
        write_json(report.to_dict())
        return
    out.print(ReportTable(report), soft_wrap=False)
    for path in (settings.plot, report.written):
        if path is not None:
            out.print(f"Written: {path}", markup=False)


@contextmanager
def _progress() -> Iterator[Callable[[Progress], None]]:
    """Show a bar where a person looks on, on standard error."""
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    console = Console(file=sys.stderr)
    columns = (BarColumn(bar_width=20), TextColumn("{task.percentage:>3.0f} %"), TimeElapsedColumn())
    with Bars(
        *columns,
        TextColumn("{task.description}", markup=False),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as bars:
        task = bars.add_task("", total=1.0)
        yield lambda now: bars.update(task, completed=now.fraction, description=now.doing)
