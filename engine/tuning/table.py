"""The report as text: a table where there are 80 columns, and a list where there are fewer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich import box
from rich.table import Table
from rich.text import Text

from engine.models.display import format_size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console, ConsoleOptions, RenderResult

    from engine.tuning.candidate import Candidate
    from engine.tuning.report import TuningReport

_TABLE_COLUMNS: Final = 80
_NAME: Final = 22
_MISSING: Final = "-"


class ReportTable:
    """A report that rich can print, in as many columns as the console has.

    >>> rich.print(ReportTable(report))
    """

    def __init__(self, report: TuningReport) -> None:
        self._report = report

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the candidates, the notes and the closing sentence."""
        yield self._table() if options.max_width >= _TABLE_COLUMNS else self._list()
        for line in self._explanations():
            yield Text(line, style="dim")
        yield Text()
        yield Text(self._report.sentence, style="bold")

    def _table(self) -> Table:
        report = self._report
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
        table.add_column("", width=1)
        table.add_column("file, settings", max_width=_NAME, overflow="fold")
        for heading in (
            *(str(width) for width in report.widths),
            "prefill",
            "gain",
            "memory",
            "KL",
            "p99",
            "top",
        ):
            table.add_column(heading, justify="right", no_wrap=True)
        for candidate in report.candidates:
            table.add_row(*self._cells(candidate), style=self._style(candidate))
        return table

    def _cells(self, candidate: Candidate) -> Iterator[str]:
        report, speed = self._report, candidate.speed
        yield self._mark(candidate)
        yield candidate.name
        for width in report.widths:
            yield _rate(speed.decode[width]) if speed else _MISSING
        yield _rate(speed.prefill) if speed else _MISSING
        yield _gain(candidate, report.streams)
        yield format_size(candidate.memory) if candidate.memory else _MISSING
        yield from _losses(candidate)

    def _list(self) -> Text:
        report, lines = self._report, Text()
        for candidate in report.candidates:
            speed = candidate.speed
            lines.append(f"{self._mark(candidate)} {candidate.name}\n", self._style(candidate) or "bold")
            if speed:
                rates = ", ".join(f"{width}: {_rate(speed.decode[width])}" for width in report.widths)
                lines.append(f"  {rates} tokens/s\n")
                lines.append(f"  prefill {_rate(speed.prefill)}, gain {_gain(candidate, report.streams)}\n")
            mean, p99, changed = _losses(candidate)
            size = format_size(candidate.memory) if candidate.memory else _MISSING
            lines.append(f"  {size}, KL {mean}/{p99}, top {changed}\n")
        lines.rstrip()
        return lines

    def _explanations(self) -> Iterator[str]:
        report = self._report
        yield ""
        widths = ", ".join(map(str, report.widths))
        yield (
            f"{widths}: tokens/s of so many streams. gain: at {report.streams}, beside the first line in the "
            f"same round. prefill: tokens/s of a prompt of {report.n_prompt}. memory: with "
            f"{report.n_context} tokens of KV cache. KL: mean divergence from the original, in nats, on "
            f"{report.n_text} tokens. p99: what one of a hundred exceeds. top: tokens at which another one "
            f"is the most probable. * chosen, + not beaten in both."
        )
        if report.unrest > _RESTLESS:
            yield (
                f"The machine was not quiet: the original's own speed differed by {report.unrest:.0%}. "
                f"Tune again when nothing else runs."
            )
        for candidate in report.candidates:
            for note in candidate.notes:
                yield f"{candidate.name}: {note}."
        yield from report.notes

    def _mark(self, candidate: Candidate) -> str:
        if candidate is self._report.choice:
            return "*"
        return "+" if any(candidate is each for each in self._report.front) else " "

    def _style(self, candidate: Candidate) -> str:
        if candidate is self._report.choice:
            return "bold green"
        return "" if candidate.is_within(self._report.max_kl) else "dim"


_RESTLESS: Final = 0.15


def _rate(tokens_per_second: float) -> str:
    return f"{tokens_per_second:.1f}" if tokens_per_second < 100 else f"{tokens_per_second:.0f}"


def _gain(candidate: Candidate, streams: int) -> str:
    gain = candidate.gain(streams)
    return _MISSING if gain is None else f"{gain:.2f}"


def _losses(candidate: Candidate) -> tuple[str, str, str]:
    """Return the mean and the 99th percentile of the divergence, and the share of changed tokens."""
    quality = candidate.quality
    if quality is None or not quality.is_finite:
        return _MISSING, _MISSING, _MISSING
    if quality.mean_kl == 0:
        return "0", "0", "0"
    return f"{quality.mean_kl:.2g}", f"{quality.p99_kl:.2g}", f"{quality.changed_argmax:.0%}"
