"""The whole of it, on a small model, with clocks of our own."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import signal
from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from engine import hardware
from engine.backend import llama_model
from engine.errors import InvalidRequestError
from engine.loading import profiles, trial
from engine.loading.launch import launch
from engine.loading.options import EngineOptions
from engine.loading.profiles import Place
from engine.tuning import conversion, file_search, lab, workspace
from engine.tuning.bench import Bench
from engine.tuning.budget import Progress
from engine.tuning.recipe import Recipe
from engine.tuning.settings import TuneSettings
from engine.tuning.tensors import read_tensors
from engine.tuning.tuner import tune

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from engine.tuning.report import TuningReport

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture(scope="module")
def quick(smaller_is_faster: None, converted_here: None) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lab, "_TEXT", 128)
        yield


@pytest.fixture
def model(original: Path, tmp_path: Path) -> Path:
    """Return a model of our own, in a folder where nothing else is."""
    return copied(original, tmp_path)


def copied(original: Path, folder: Path) -> Path:
    (folder / "model").mkdir()
    path = folder / "model" / "tiny.gguf"
    path.write_bytes(original.read_bytes())
    trial.remember(path)
    return path


def run(model: Path, folder: Path, **settings: Any) -> TuningReport:
    """Tune in a folder of our own, of which nothing may be left."""
    given = {"model": str(model), "work_dir": folder / "work"} | settings
    report = tune(TuneSettings.model_validate(given))
    assert not any((folder / "work").iterdir())
    return report


def profile_of(path: Path) -> profiles.Profile | None:
    return Place(path, llama_model.kernels(), 0).read()


class Tuned(NamedTuple):
    report: TuningReport
    model: Path
    output: Path
    told: dict[Progress, int]
    """The steps, and how many converted files there were at each."""
    before: tuple[bytes, int]


@pytest.fixture(scope="module")
def tuned(original: Path, tmp_path_factory: pytest.TempPathFactory, quick: None) -> Tuned:
    """Tune once, with a limit within which Q8_0 is and Q4_0 is not."""
    folder, told = tmp_path_factory.mktemp("tuned"), dict[Progress, int]()
    model = copied(original, folder)
    before = state(model)
    settings = TuneSettings(model=str(model), work_dir=folder / "work", output=folder / "new.gguf")

    def look(step: Progress) -> None:
        told[step] = len(list((folder / "work").rglob("*.gguf")))

    return Tuned(tune(settings, progress=look), model, folder / "new.gguf", told, before)


class TestChoice:
    def test_it_finds_the_fastest_file_within_the_limit(self, tuned: Tuned) -> None:
        by_name = {candidate.name: candidate for candidate in tuned.report.candidates}
        choice, bad = tuned.report.choice, by_name["Q4_0"]
        assert choice.is_within(0.02)
        assert (choice.gain(8) or 0) * 1.03 > (by_name["Q8_0"].gain(8) or 9) > 2
        assert not bad.is_within(0.02)
        assert "beyond the limit" in bad.notes
        assert bad.speed is not None, "a bad bargain is to be seen"
        assert bad.speed.n_rounds < (by_name["Q8_0"].speed or bad.speed).n_rounds

    def test_it_is_written_as_it_was_measured(self, tuned: Tuned) -> None:
        written = {tensor.name: tensor.type for tensor in read_tensors(tuned.output)}
        recipe = tuned.report.choice.recipe
        assert written == {tensor.name: recipe.type_of(tensor) for tensor in read_tensors(tuned.model)}
        assert tuned.report.written == tuned.output

    def test_the_original_is_as_it_was(self, tuned: Tuned) -> None:
        assert state(tuned.model) == tuned.before
        assert [path.name for path in tuned.model.parent.iterdir()] == ["tiny.gguf"]

    def test_of_temporary_files_nothing_is_left(self, tuned: Tuned) -> None:
        assert not any((tuned.output.parent / "work").iterdir())
        assert {path.name for path in tuned.output.parent.iterdir()} == {"model", "new.gguf", "work"}

    def test_whoever_runs_one_stream_is_told_to_keep_the_file(self, tuned: Tuned) -> None:
        report = tuned.report
        assert report.best_at(1) is report.original
        assert report.sentence.startswith(f"Chosen for 8 streams: {report.choice.name}, with ")
        assert "If you run one stream at a time, keep the file you have" in report.sentence
        alone = dataclasses.replace(report, streams=1)
        assert alone.sentence.startswith("Keep the file you have")

    def test_the_file_that_was_written_is_a_hint_and_has_a_profile(self, tuned: Tuned) -> None:
        profile, new = profile_of(tuned.model), profile_of(tuned.output)
        assert profile is not None
        assert profile.faster_file is not None
        assert profile.faster_file.path == tuned.output
        assert profile.settings == tuned.report.settings_choice.settings
        assert new is not None
        assert new.speedup == tuned.report.choice.gain(8)
        launched = launch(EngineOptions(model=str(tuned.model), parallel=2))
        with closing(launched.service):
            lines = {line.what: line.value for line in launched.report.settings}
        assert lines["faster"] == str(tuned.output)
        assert lines["tuned"] == f"on {tuned.report.date}"

    def test_progress_only_grows(self, tuned: Tuned) -> None:
        fractions = [step.fraction for step in tuned.told]
        assert fractions == sorted(fractions)
        assert (fractions[0], fractions[-1]) == (0, 1)
        assert any(step.doing == "converting to Q8_0" for step in tuned.told)

    def test_a_file_beyond_the_limit_goes_once_it_was_timed(self, tuned: Tuned) -> None:
        converted = [each for each in tuned.report.candidates if not each.is_original]
        within = sum(each.is_within(tuned.report.max_kl) for each in converted)
        at_last = next(count for step, count in reversed(tuned.told.items()) if "in turn" in step.doing)
        assert at_last == within < len(converted)

    def test_numbers_can_be_had_as_json(self, tuned: Tuned) -> None:
        told = json.loads(json.dumps(tuned.report.to_dict(), allow_nan=False))
        chosen = [candidate["name"] for candidate in told["candidates"] if candidate["chosen"]]
        assert chosen == [tuned.report.choice.name]
        assert told["sentence"] == tuned.report.sentence

    def test_a_hint_of_before_stays(self, tuned: Tuned, tmp_path: Path) -> None:
        run(tuned.model, tmp_path, files=False)
        profile = profile_of(tuned.model)
        assert profile is not None
        assert profile.faster_file is not None


def state(path: Path) -> tuple[bytes, int]:
    return hashlib.sha256(path.read_bytes()).digest(), path.stat().st_mtime_ns


class TestLimits:
    def test_where_the_file_is_best_nothing_is_written(self, model: Path, tmp_path: Path) -> None:
        report = run(model, tmp_path, max_kl=0, output=tmp_path / "none.gguf", profile=False)
        assert report.choice is report.original
        assert not (tmp_path / "none.gguf").exists()
        assert any("the file you have was chosen" in note for note in report.notes)
        assert profile_of(model) is None

    def test_a_short_time_is_kept_to_and_what_was_left_out_is_told(self, model: Path, tmp_path: Path) -> None:
        ticks = iter(range(0, 10**6, 9))
        settings = TuneSettings(model=str(model), work_dir=tmp_path / "work", seconds=60)
        report = tune(settings, clock=lambda: float(next(ticks)))
        assert any("no time left" in note for each in report.candidates for note in each.notes)
        assert report.choice is report.original
        assert report.original.speed is not None

    @pytest.mark.parametrize(
        ("moment", "number"),
        [
            ("comparing Q8_0", signal.SIGINT),
            ("timing all files", signal.SIGINT),
            ("timing all files", signal.SIGTERM),
        ],
    )
    def test_an_interrupt_leaves_nothing_behind(
        self, model: Path, tmp_path: Path, moment: str, number: signal.Signals
    ) -> None:
        self.check_interrupt(model, tmp_path, moment, number)

    def test_an_interrupt_ends_a_conversion(
        self, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(file_search, "convert", conversion.convert)
        self.check_interrupt(model, tmp_path, "converting to Q8_0", signal.SIGINT)

    def check_interrupt(self, model: Path, tmp_path: Path, moment: str, number: signal.Signals) -> None:
        def interrupt(step: Progress) -> None:
            if step.doing == moment:
                os.kill(os.getpid(), number)
                ended.append(step)

        settings = TuneSettings(model=str(model), work_dir=tmp_path / "work", output=tmp_path / "new.gguf")
        before, ended = signal.getsignal(signal.SIGTERM), list[Progress]()
        with pytest.raises((KeyboardInterrupt, SystemExit)) as caught:
            tune(settings, progress=interrupt)
        assert ended
        if number == signal.SIGTERM:
            assert caught.value.args == (128 + signal.SIGTERM,)
        assert not any((tmp_path / "work").iterdir())
        assert not (tmp_path / "new.gguf").exists()
        assert signal.getsignal(signal.SIGTERM) is before

    def test_a_disk_that_is_too_small_for_files_leaves_the_settings(
        self, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        huge = 10**9
        monkeypatch.setattr(workspace, "why_no_room", lambda _, size: "full" if size >= huge else None)
        monkeypatch.setattr(Recipe, "n_bytes", lambda *_: huge)
        report = run(model, tmp_path)
        assert all(each.is_original or each.notes == ["not tried: full"] for each in report.candidates)
        assert not all(each.is_original for each in report.candidates)

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
        monkeypatch.setattr(conversion, "interpreter", lambda: None)
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

        def step_seconds(bench: Bench, streams: int, _step: int) -> float:
            return streams / (1.5 if bench.backend.options.cache_type_k == "q8_0" else 1.0)

        def prefill_seconds(bench: Bench, n_tokens: int) -> float:
            return n_tokens * 1e-3 / (1.5 if bench.backend.options.n_ubatch == 128 else 1.0)

        monkeypatch.setattr(Bench, "step_seconds", step_seconds)
        monkeypatch.setattr(Bench, "prefill_seconds", prefill_seconds)
        report = run(model, tmp_path, max_kl=1, files=False)
        settings = report.settings_choice.settings
        assert (settings.cache_type_k, settings.cache_type_v, settings.ubatch_size) == ("q8_0", "q8_0", 128)
        assert report.choice.name == "as it is, ubatch 128, KV q8_0"
        profile = profile_of(model)
        assert profile is not None
        assert profile.settings == settings
        assert "the file you have (ubatch 128, KV q8_0), with 1.50 times" in report.sentence

    def test_a_setting_beyond_the_limit_is_not_timed(self, model: Path, tmp_path: Path) -> None:
        report = run(model, tmp_path, max_kl=0, files=False)
        quantized = next(each for each in report.candidates if each.name == "as it is, KV q4_0")
        assert quantized.speed is None
        assert quantized.notes == ["beyond the limit"]
