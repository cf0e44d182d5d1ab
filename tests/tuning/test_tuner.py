"""The whole of it, on a small model, with clocks of our own."""

from __future__ import annotations

import hashlib
import os
import signal
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from engine.backend import llama_model
from engine.errors import InvalidRequestError
from engine.loading import hardware, profiles, trial
from engine.loading.launch import launch
from engine.loading.options import EngineOptions
from engine.loading.profiles import Place
from engine.tuning import lab, workspace
from engine.tuning.bench import Bench
from engine.tuning.settings import TuneSettings
from engine.tuning.tensors import read_tensors
from engine.tuning.tuner import tune

if TYPE_CHECKING:
    from pathlib import Path

    from engine.tuning.budget import Progress
    from engine.tuning.report import TuningReport


@pytest.fixture(autouse=True)
def short_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab, "_TEXT", 160)


@pytest.fixture
def model(original: Path, tmp_path: Path) -> Path:
    """Return a model of our own, in a folder where nothing else is."""
    (folder := tmp_path / "model").mkdir()
    path = folder / "tiny.gguf"
    path.write_bytes(original.read_bytes())
    trial.remember(path)
    return path


def run(model: Path, tmp_path: Path, **settings: Any) -> TuningReport:
    """Tune in a folder of our own, of which nothing may be left, with a limit within which Q8_0 is."""
    work = tmp_path / "work"
    given = {"model": str(model), "work_dir": work, "max_kl": 0.02} | settings
    report = tune(TuneSettings.model_validate(given))
    assert not any(work.iterdir())
    return report


def names(report: TuningReport) -> list[str]:
    return [candidate.name for candidate in report.candidates]


def profile_of(path: Path) -> profiles.Profile | None:
    return Place(path, llama_model.kernels(), 0).read()


@pytest.mark.usefixtures("smaller_is_faster")
class TestChoice:
    @pytest.fixture
    def report(self, model: Path, tmp_path: Path) -> TuningReport:
        return run(model, tmp_path, output=tmp_path / "new.gguf")

    def test_it_finds_the_fastest_file_within_the_limit_and_writes_it(
        self, report: TuningReport, model: Path, tmp_path: Path
    ) -> None:
        assert {"as it is", "Q8_0", "Q4_0", "IQ4_NL"} <= set(names(report))
        choice = report.choice
        assert choice.recipe.types
        assert choice.is_within(0.02)
        by_name = {candidate.name: candidate for candidate in report.candidates}
        assert (choice.gain(8) or 0) >= (by_name["Q8_0"].gain(8) or 9) > 2
        assert not by_name["Q4_0"].is_within(0.02)
        assert "beyond the limit" in by_name["Q4_0"].notes
        assert by_name["Q4_0"].speed is not None, "a bad bargain is to be seen"
        written = {tensor.name: tensor.type for tensor in read_tensors(tmp_path / "new.gguf")}
        assert written == {tensor.name: choice.recipe.type_of(tensor) for tensor in read_tensors(model)}
        assert report.written == tmp_path / "new.gguf"

    def test_whoever_runs_one_stream_is_told_to_keep_the_file(self, report: TuningReport) -> None:
        assert report.best_at(1).is_original
        assert report.sentence.startswith(f"Chosen for 8 streams: {report.choice.name}, with ")
        assert "If you run one stream at a time, keep the file you have" in report.sentence

    def test_the_file_that_was_written_is_a_hint_and_has_a_profile(
        self, report: TuningReport, model: Path, tmp_path: Path
    ) -> None:
        profile, new = profile_of(model), profile_of(tmp_path / "new.gguf")
        assert profile is not None
        assert profile.faster_file is not None
        assert profile.faster_file.path == tmp_path / "new.gguf"
        assert profile.settings == report.settings_choice.settings
        assert new is not None
        assert new.speedup == report.choice.gain(8)
        launched = launch(EngineOptions(model=str(model), parallel=2))
        with closing(launched.service):
            lines = {line.what: line.value for line in launched.report.settings}
        assert lines["faster"] == str(tmp_path / "new.gguf")
        assert lines["tuned"] == f"on {report.date}"

    def test_the_original_is_as_it_was(self, model: Path, tmp_path: Path) -> None:
        before = hashlib.sha256(model.read_bytes()).digest(), model.stat().st_mtime_ns
        run(model, tmp_path)
        assert (hashlib.sha256(model.read_bytes()).digest(), model.stat().st_mtime_ns) == before
        assert [path.name for path in model.parent.iterdir()] == ["tiny.gguf"]

    @pytest.mark.usefixtures("report")
    def test_a_hint_of_before_stays(self, model: Path, tmp_path: Path) -> None:
        run(model, tmp_path, files=False)
        profile = profile_of(model)
        assert profile is not None
        assert profile.faster_file is not None

    def test_for_one_stream_the_file_is_kept(self, model: Path, tmp_path: Path) -> None:
        report = run(model, tmp_path, streams=1, output=tmp_path / "none.gguf", profile=False)
        assert report.choice.is_original
        assert report.sentence.startswith("Keep the file you have")
        assert not (tmp_path / "none.gguf").exists()
        assert any("the file you have was chosen" in note for note in report.notes)
        assert profile_of(model) is None

    def test_numbers_can_be_had_as_json(self, model: Path, tmp_path: Path) -> None:
        import json

        report = run(model, tmp_path)
        told = json.loads(json.dumps(report.to_dict(), allow_nan=False))
        assert [candidate["name"] for candidate in told["candidates"] if candidate["chosen"]] == [
            report.choice.name
        ]
        assert told["sentence"] == report.sentence


class TestLimits:
    def test_a_short_time_is_kept_to_and_what_was_left_out_is_told(self, model: Path, tmp_path: Path) -> None:
        ticks = iter(range(10**6))
        settings = TuneSettings(model=str(model), work_dir=tmp_path / "work", seconds=60)
        report = tune(settings, clock=lambda: float(next(ticks)))
        assert any("no time left" in note for each in report.candidates for note in each.notes)
        assert report.choice.is_original

    def test_progress_only_grows(self, model: Path, tmp_path: Path) -> None:
        told: list[Progress] = []
        tune(TuneSettings(model=str(model), work_dir=tmp_path / "work"), progress=told.append)
        fractions = [step.fraction for step in told]
        assert fractions == sorted(fractions)
        assert (fractions[0], fractions[-1]) == (0, 1)
        assert any(step.doing == "converting to Q8_0" for step in told)

    @pytest.mark.parametrize("moment", ["converting to Q8_0", "comparing Q8_0", "timing all files"])
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_an_interrupt_leaves_nothing_behind(
        self, model: Path, tmp_path: Path, moment: str, number: signal.Signals
    ) -> None:
        def interrupt(step: Progress) -> None:
            if step.doing == moment:
                os.kill(os.getpid(), number)

        settings = TuneSettings(model=str(model), work_dir=tmp_path / "work", output=tmp_path / "new.gguf")
        before = signal.getsignal(signal.SIGTERM)
        with pytest.raises((KeyboardInterrupt, SystemExit)) as caught:
            tune(settings, progress=interrupt)
        if number == signal.SIGTERM:
            assert caught.value.args == (128 + signal.SIGTERM,)
        assert not any((tmp_path / "work").iterdir())
        assert not (tmp_path / "new.gguf").exists()
        assert profile_of(model) is None
        assert signal.getsignal(signal.SIGTERM) is before

    def test_a_disk_that_is_too_small_for_files_leaves_the_settings(
        self, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        logits = 4 * 400 * 160
        monkeypatch.setattr(workspace, "why_no_room", lambda _, size: "full" if size > logits else None)
        monkeypatch.setattr("engine.tuning.recipe.Recipe.n_bytes", lambda *_: logits + 1)
        report = run(model, tmp_path)
        assert all(each.is_original or each.notes == ["not tried: full"] for each in report.candidates)

    def test_a_file_that_does_not_fit_the_memory_is_not_tried(
        self, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(hardware, "available_memory", lambda: 10**4)
        report = run(model, tmp_path)
        notes = [each.notes for each in report.candidates if not each.is_original]
        assert notes
        assert all("beside the original" in told for [told] in notes)

    def test_where_no_process_can_be_started_settings_are_tuned(
        self, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("engine.tuning.conversion.interpreter", lambda: None)
        report = run(model, tmp_path)
        assert all(candidate.is_original for candidate in report.candidates)
        assert "No files were converted: there is no Python to start." in report.notes

    @pytest.mark.parametrize("option", ["output", "plot"])
    def test_what_exists_is_refused_before_anything_is_measured(
        self, model: Path, tmp_path: Path, option: str
    ) -> None:
        (old := tmp_path / "old.svg").write_text("precious")
        with pytest.raises(InvalidRequestError, match=f"--{option}: there is a file at"):
            run(model, tmp_path, **{option: old})
        assert old.read_text() == "precious"


class TestSettings:
    def test_the_settings_that_are_faster_are_chosen_for_the_file(
        self, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Here keys and values of 8 bits are half as fast again, and so are prompts with a small ubatch."""

        def decode_seconds(bench: Bench, streams: int, _check: Any) -> float:
            return streams / (1.5 if bench.backend.options.cache_type_k == "q8_0" else 1.0)

        def prefill_seconds(bench: Bench, n_tokens: int) -> float:
            return n_tokens * 1e-3 * (0.5 if bench.backend.options.n_ubatch == 128 else 1.0)

        monkeypatch.setattr(Bench, "decode_seconds", decode_seconds)
        monkeypatch.setattr(Bench, "prefill_seconds", prefill_seconds)
        report = run(model, tmp_path, max_kl=1, files=False)
        settings = report.settings_choice.settings
        assert (settings.cache_type_k, settings.cache_type_v, settings.ubatch_size) == ("q8_0", "q8_0", 128)
        assert report.choice.name == "as it is, ubatch 128, KV q8_0"
        profile = profile_of(model)
        assert profile is not None
        assert profile.settings == settings
        assert "the file you have (ubatch 128, KV q8_0), with 1.50 times" in report.sentence

    @pytest.mark.usefixtures("smaller_is_faster")
    def test_a_setting_beyond_the_limit_is_not_timed(self, model: Path, tmp_path: Path) -> None:
        report = run(model, tmp_path, max_kl=0, files=False)
        quantized = next(each for each in report.candidates if each.name == "as it is, KV q4_0")
        assert quantized.speed is None
        assert quantized.notes == ["beyond the limit"]
