"""What was found for a file is used for that file on that machine, where nothing else is asked for."""

from __future__ import annotations

import dataclasses
import datetime
import os
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from engine import hardware
from engine.backend import llama_model
from engine.backend.llama import LlamaBackend
from engine.llm import LLM
from engine.loading import trial
from engine.loading.launch import launch
from engine.loading.options import EngineOptions
from engine.loading.profiles import FasterFile, Place, Profile, RunSettings, settings_with

if TYPE_CHECKING:
    from pathlib import Path

    from engine.backend.cache_types import CacheType

TUNED = RunSettings(1, 128, cache_type_k="q8_0", cache_type_v="q8_0")
DEFAULT = RunSettings(2, 512)
PROFILE = Profile(datetime.date(2026, 11, 27), TUNED, streams=8, speedup=1.12, mean_kl=0.004)


@pytest.fixture
def place(original: Path, tmp_path: Path) -> Place:
    """Return the place of a model of our own."""
    path = tmp_path / "tuned.gguf"
    path.write_bytes(original.read_bytes())
    trial.remember(path)
    return Place(path, llama_model.kernels(), 0)


def used_by(llm: LLM) -> tuple[int, int, str]:
    backend = llm._llm.service.engine.backend
    assert isinstance(backend, LlamaBackend)
    return backend.options.n_threads, backend.options.n_ubatch, backend.options.cache_type_k


class TestSettings:
    @pytest.mark.parametrize(
        ("asked", "expected", "reasons"),
        [
            ({}, TUNED, ("tuned", "tuned", "tuned")),
            ({"threads": 4}, dataclasses.replace(TUNED, threads=4), ("asked", "tuned", "tuned")),
            ({"ubatch_size": 256}, dataclasses.replace(TUNED, ubatch_size=256), ("tuned", "asked", "tuned")),
            ({"flash_attn": "off"}, RunSettings(1, 128, "off"), ("tuned", "tuned", "asked")),
            ({"cache_type_k": "f16"}, RunSettings(1, 128), ("tuned", "tuned", "asked")),
        ],
    )
    def test_what_is_asked_for_counts_before_the_profile(
        self, asked: dict[str, Any], expected: RunSettings, reasons: tuple[str, ...]
    ) -> None:
        settings, why = settings_with(EngineOptions(**asked), PROFILE, DEFAULT)
        assert settings == expected
        spelled = {"tuned": "tuned on 2026-11-27", "asked": "as asked"}
        assert [*why.values()] == [spelled[reason] for reason in reasons]

    def test_without_a_profile_the_defaults_count(self) -> None:
        assert settings_with(EngineOptions(), None, DEFAULT) == (
            DEFAULT,
            {"threads": "", "ubatch": "", "attention": ""},
        )


class TestPlace:
    def test_it_gives_back_what_was_written(self, place: Place, tmp_path: Path) -> None:
        faster = FasterFile(tmp_path / "faster.gguf", 5, 8, 1.35, 0.006)
        for profile in (PROFILE, dataclasses.replace(PROFILE, faster_file=faster)):
            place.write(profile)
            assert place.read() == profile

    def test_that_of_a_file_that_has_changed_is_not_used(self, place: Place) -> None:
        place.write(PROFILE)
        os.utime(place.path, ns=(1, 1))
        assert place.read() is None

    @pytest.mark.parametrize("name", ["processor", "physical_cores"])
    def test_that_of_another_machine_is_not_used(
        self, place: Place, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        place.write(PROFILE)
        monkeypatch.setattr(hardware, name, lambda: 77)
        assert place.read() is None

    def test_that_of_other_kernels_or_layers_is_not_used(self, place: Place) -> None:
        place.write(PROFILE)
        assert dataclasses.replace(place, kernels="others").read() is None
        assert dataclasses.replace(place, gpu_layers=9).read() is None

    @pytest.mark.parametrize(
        "text", ["", "{}", '{"date": "2026-11-27"}', '{"settings": {"threads": "many"}}']
    )
    def test_one_that_cannot_be_read_is_done_without(
        self, place: Place, text: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        place._note().write(text)
        assert place.read() is None
        assert "`nucleus tune` makes a new one" in caplog.text


class TestUse:
    def test_a_server_uses_it_and_says_so(self, place: Place) -> None:
        place.write(PROFILE)
        lines = self.report(place)
        assert lines["threads"] == "1, and 1 of the sampler (tuned on 2026-11-27)"
        assert lines["attention"] == "flash auto, keys q8_0, values q8_0 (tuned on 2026-11-27)"
        assert lines["ubatch"] == "128 tokens (tuned on 2026-11-27)"
        assert lines["tuned"] == (
            "on 2026-11-27 (1.12 times the tokens/s at 8 streams, at a mean KL of 0.004 nats; "
            "--profile off does without)"
        )
        assert "faster" not in lines

    def test_it_can_be_done_without(self, place: Place) -> None:
        place.write(PROFILE)
        lines = self.report(place, profile=False)
        assert not {"attention", "ubatch", "tuned"} & set(lines)

    def test_a_faster_file_is_a_hint_while_it_is_there(self, place: Place, tmp_path: Path) -> None:
        (faster := tmp_path / "faster.gguf").write_bytes(b"12345")
        place.write(dataclasses.replace(PROFILE, faster_file=FasterFile(faster, 5, 8, 1.35, 0.006)))
        assert self.report(place)["faster"] == (
            f"{faster} (1.35 times the tokens/s at 8 streams, at a mean KL of 0.006 nats; "
            "used if it is named)"
        )
        faster.write_bytes(b"1234567")
        assert "faster" not in self.report(place)

    def test_a_model_in_this_process_uses_it(self, place: Place) -> None:
        place.write(PROFILE)
        with LLM(str(place.path), parallel=2) as llm:
            assert used_by(llm) == (1, 128, "q8_0")
            answer = llm.complete(prompt="Hello", max_tokens=4, seed=1)
        assert answer.usage.completion_tokens == 4
        with LLM(str(place.path), parallel=2, threads=2, profile=False) as llm:
            assert used_by(llm) == (2, 512, "f16")

    def test_prefixes_of_other_types_are_others(self, place: Place, tmp_path: Path) -> None:
        folders = []
        types: list[CacheType] = ["f16", "q8_0"]
        for cache_type in types:
            options = EngineOptions(
                model=str(place.path),
                parallel=2,
                prefix_cache_dir=tmp_path / "prefixes",
                cache_type_k=cache_type,
            )
            with closing(launch(options).service):
                pass
            folders.append({path.name for path in (tmp_path / "prefixes").iterdir()})
        assert folders[0] < folders[1]

    def report(self, place: Place, **options: Any) -> dict[str, str]:
        """Return what a server says when it starts."""
        given = EngineOptions(model=str(place.path), parallel=2, **options)
        launched = launch(given)
        with closing(launched.service):
            return {line.what: f"{line.value} ({line.reason})" for line in launched.report.settings}
