"""The report as text and as a drawing."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from engine.errors import InvalidRequestError
from engine.tuning.plot import check_plot, plot
from engine.tuning.table import ReportTable
from tests.tuning.candidates import report as measured_report

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from engine.tuning.report import TuningReport


@pytest.fixture
def report() -> TuningReport:
    return measured_report()


def printed(report: TuningReport, width: int) -> str:
    console = Console(width=width, record=True, file=open("/dev/null", "w"), color_system=None)  # noqa: SIM115
    with console.file:
        console.print(ReportTable(report))
    return console.export_text()


@pytest.mark.parametrize("width", [40, 80, 120])
def test_it_fits_and_says_everything(report: TuningReport, width: int) -> None:
    text = printed(report, width)
    assert max(map(len, text.splitlines())) <= width
    flowing = " ".join(text.split())
    for candidate in report.candidates:
        assert candidate.name in flowing
    for part in (
        "135",
        "175",
        "1.35",
        "0.006",
        "5%",
        "Q6_K: not tried: no time left.",
        "not quiet",
        "No mix",
    ):
        assert part in flowing, part
    assert flowing.endswith("Q8_0 gives 0.95 times its tokens/s.")
    assert "…" not in text, "a cell was cut"


def test_the_choice_and_the_front_are_marked(report: TuningReport) -> None:
    lines = printed(report, 80).splitlines()
    marks = {line[2:].split("  ")[0].strip(): line[0] for line in lines if line[1:2] == " "}
    assert {name: marks[name] for name in ("as it is", "Q8_0", "Q5_0", "IQ4_NL", "Q4_0", "Q6_K")} == {
        "as it is": "+",
        "Q8_0": "*",
        "Q5_0": " ",
        "IQ4_NL": "+",
        "Q4_0": "+",
        "Q6_K": " ",
    }


def test_the_sentence_names_gain_and_loss(report: TuningReport) -> None:
    assert report.sentence == (
        "Chosen for 8 streams: Q8_0, with 1.35 times the tokens/s and 1.75 times the prefill, at a mean KL "
        "of 0.006 nats (4.8% of the most probable tokens change). If you run one stream at a time, keep the "
        "file you have: Q8_0 gives 0.95 times its tokens/s."
    )


class TestPlot:
    def test_it_is_drawn_into_a_new_file(self, report: TuningReport, tmp_path: Path) -> None:
        pytest.importorskip("matplotlib")
        plot(report, tmp_path / "tune.svg")
        assert (tmp_path / "tune.svg").read_text().startswith("<?xml")
        with pytest.raises(InvalidRequestError, match="--plot: there is a file"):
            plot(report, tmp_path / "tune.svg")

    def test_another_ending_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidRequestError, match=r"--plot should end in .svg, .png, .pdf, not '.docx'"):
            check_plot(tmp_path / "tune.docx")

    def test_without_matplotlib_it_is_told_what_to_install(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        find: Callable[[str], object] = importlib.util.find_spec
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name: None if name == "matplotlib" else find(name)
        )
        with pytest.raises(InvalidRequestError, match="pip install matplotlib"):
            check_plot(tmp_path / "tune.svg")
