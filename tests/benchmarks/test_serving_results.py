"""From turns to ratios, lines of tables, a file and a plot, without timing anything."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from benchmarks.servers import OURS, XLLAMACPP
from benchmarks.serving.results import LOGPROBS, RATIOS, ROWS, ModelResults, Pair, Ratio, Row, write
from benchmarks.serving.turn import Turn, Work

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.servers import Door

MODEL = "smollm2-135m-instruct"


def _turn(tokens_per_s: float, elsewhere: float | None = 0.0) -> Turn:
    times = _times(1.0, 2.0, 3.0)
    return Turn(4, 64.0, tokens_per_s, times, times, elsewhere=elsewhere)


def _times(p50: float, p95: float, p99: float) -> dict[str, float]:
    return {"p50": p50, "p95": p95, "p99": p99}


def _row(server: str, door: Door, *turns: Turn, clients: int = 8, logprobs: int | None = None) -> Row:
    return Row(server, door, Work(5.0, clients, logprobs=logprobs), list(turns))


def _ratio(ours: Row, other: Row) -> Ratio | None:
    return next(ModelResults(MODEL, [ours, other]).goals(), None)


def test_a_ratio_is_the_median_of_the_rounds_own() -> None:
    ours = _row(OURS, "http", _turn(100), _turn(30), _turn(90))
    other = _row(XLLAMACPP, "http", _turn(50), _turn(10), _turn(60))
    found = _ratio(ours, other)
    assert found
    assert (found.ratio.value, found.ratio.counted) == (2.0, 3)  # of 2.0, 3.0 and 1.5; of the medians, 1.8


def test_a_round_counts_where_both_sides_were_calm() -> None:
    ours = _row(OURS, "http", _turn(100, 0.0), _turn(30, 0.0), _turn(90, 0.7))
    other = _row(XLLAMACPP, "http", _turn(50, 0.4), _turn(10, 0.1), _turn(60, 0.0))
    found = _ratio(ours, other)
    assert found
    figure = found.ratio
    assert (figure.value, figure.elsewhere, figure.counted, figure.rounds) == (3.0, 0.1, 1, 3)


def test_ratios_of_busy_rounds_are_marked() -> None:
    found = _ratio(_row(OURS, "http", _turn(100, 0.3)), _row(XLLAMACPP, "http", _turn(100)))
    assert found
    assert found.text().endswith("0.30  missed  busy")


def test_a_peer_without_tokens_has_no_ratio() -> None:
    failed = Turn(errors=1, first_error="it ended")
    ours, other = _row(OURS, "http", _turn(100)), _row(XLLAMACPP, "http", failed)
    assert _ratio(ours, other) is None
    assert _ratio(_row(OURS, "http", failed), _row(XLLAMACPP, "http", _turn(100))) is not None
    assert other.text().endswith("1  it ended")
    assert "busy" not in other.text()


def test_an_interrupted_round_has_no_pair() -> None:
    ours, other = _row(OURS, "http", _turn(100), _turn(1)), _row(XLLAMACPP, "http", _turn(50))
    found = _ratio(ours, other)
    assert found
    assert (found.ratio.value, found.ratio.rounds) == (2.0, 1)


def test_goals_are_of_turns_with_as_many_log_probabilities() -> None:
    rows = [_row(OURS, "http", _turn(100)), _row(OURS, "python", _turn(100), logprobs=LOGPROBS)]
    assert not list(ModelResults(MODEL, rows).goals())
    rows.append(_row(OURS, "grpc", _turn(90), logprobs=LOGPROBS))
    (found,) = ModelResults(MODEL, rows).goals()
    assert (found.title, found.logprobs) == ("grpc against the engine in process", LOGPROBS)
    assert found.ratio.value == 0.9


def test_texts_are_as_wide_as_their_headings() -> None:
    ours, engine = _row(OURS, "http", _turn(100)), _row(OURS, "python", _turn(100))
    assert len(ours.text()) == len(ROWS.heading)
    found = _ratio(ours, engine)
    assert found
    assert len(found.text()) == len(RATIOS.heading)


def test_requests_a_second_come_from_the_rounds_that_count() -> None:
    assert _row(OURS, "http", _turn(64), _turn(6400, 0.9)).requests_per_s == pytest.approx(1.0)
    assert _row(OURS, "http", Turn(errors=1)).requests_per_s == 0.0


def test_percentiles_of_several_rounds_are_the_median_of_each() -> None:
    rounds = [_times(1.0, 9.0, 9.0), None, _times(2.0, 5.0, 6.0), _times(3.0, 4.0, 7.0)]
    row = _row(OURS, "http", *(Turn(first_token=times) for times in rounds))
    assert row.entry()["first_token"] == _times(2.0, 5.0, 7.0)
    assert row.entry()["between_tokens"] is None


def test_results_are_written_with_every_round(tmp_path: Path) -> None:
    rows = [
        _row(OURS, "http", _turn(100), _turn(80, 0.5)),
        _row(OURS, "python", _turn(100), _turn(100)),
        _row(XLLAMACPP, "http", _turn(50), _turn(50)),
        _row(OURS, "http", _turn(70), clients=1),
    ]
    warm = Ratio("(c) warm", [Pair(100.0, 2.0, 0.0), Pair(100.0, 9.0, 0.9)], 0.05)
    write(tmp_path, [ModelResults(MODEL, rows, [warm])])
    written = json.loads((tmp_path / "serving.json").read_text(encoding="utf-8"))["models"][MODEL]
    assert [goal["ratio"]["value"] for goal in written["goals"]] == [2.0, 1.0]
    assert [goal["reached"] for goal in written["goals"]] == [True, True]
    assert [one["tokens_per_s"] for one in written["rows"][0]["rounds"]] == [100, 80]
    assert written["rows"][0]["tokens_per_s"]["value"] == 100
    assert written["scenarios"][0]["ratio"]["value"] == pytest.approx(0.02)
    assert written["scenarios"][0]["reached"]
    assert len(written["scenarios"][0]["rounds"]) == 2


def test_the_plot_is_the_same_for_the_same_figures(tmp_path: Path) -> None:
    results = [ModelResults(MODEL, [_row(OURS, "http", _turn(100)), _row(XLLAMACPP, "http", _turn(50))])]
    write(tmp_path / "one", results)
    write(tmp_path / "two", results)
    one, two = ((tmp_path / name / "serving.svg").read_text(encoding="utf-8") for name in ("one", "two"))
    assert one == two
    assert "8 clients: 2.0x llama.cpp's server" in one
