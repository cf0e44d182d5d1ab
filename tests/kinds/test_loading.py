"""What cannot generate text is refused in one line that says what it is, and no file ends the process."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from engine.backend.llama_model import LlamaModel
from engine.errors import ModelLoadError
from engine.loading import trial
from engine.loading.launch import launch
from engine.loading.options import EngineOptions
from engine.loading.trial import try_out
from engine.models import notes
from engine.models.names import ModelFile, locate
from tests.conftest import MODEL
from tests.kinds.files import GENERATING, REFUSED, WIDTH, ModelSpec, llama_shapes
from tests.kinds.hostile import ABORTING, DAMAGES, NOT_LOADED, SPM

if TYPE_CHECKING:
    from pathlib import Path


def file_at(path: Path) -> ModelFile:
    return ModelFile(path.stem, path, "file")


def refusal(path: Path) -> str:
    """Return what a trial of a file ends with; it is one line."""
    with pytest.raises(ModelLoadError) as caught:
        try_out(file_at(path))
    assert str(path) in caught.value.message
    assert str(caught.value).isprintable()
    return str(caught.value)


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_generate_text_is_refused_by_name(family: Path, name: str) -> None:
    with pytest.raises(ModelLoadError, match="cannot generate text: it is") as caught:
        LlamaModel(family / f"{name}.gguf")
    assert REFUSED[name][1] in caught.value.message


def test_it_is_refused_before_it_is_loaded_here(family: Path) -> None:
    assert REFUSED["t5"][1] in refusal(family / "t5.gguf")


def test_a_graph_without_logits_is_found_by_running_it(family: Path) -> None:
    script = (
        "import sys; from engine.backend import llama_model, rehearsal; "
        "llama_model.why_not_generating = lambda model: None; "
        "rehearsal.lifeline.watch = lambda: None; rehearsal.main()"
    )
    command = [sys.executable, "-c", script, str(family / "bert.gguf")]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "computes no probabilities of a next token" in run.stdout


@pytest.mark.parametrize("name", NOT_LOADED)
def test_the_reason_of_llama_cpp_is_told(tmp_path: Path, name: str) -> None:
    spec, reason = NOT_LOADED[name]
    with pytest.raises(ModelLoadError) as caught:
        LlamaModel(spec.write(tmp_path / "m.gguf"))
    assert reason in caught.value.message
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", ABORTING)
def test_a_file_on_which_llama_cpp_aborts_ends_nothing_here(tmp_path: Path, name: str) -> None:
    spec, moment, reason = ABORTING[name]
    path = spec.write(tmp_path / "m.gguf")
    with pytest.raises(ModelLoadError) as caught:
        launch(EngineOptions(model=str(path)))
    assert moment.format(path) in caught.value.message
    assert reason in caught.value.message
    assert "pip-install" not in caught.value.message


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return what is said of each damaged file, by one process that can have two gigabytes."""
    folder = tmp_path_factory.mktemp("damaged")
    good = ModelSpec(SPM).write(folder / "good.gguf").read_bytes()
    for name, damage in DAMAGES.items():
        (folder / f"{name}.gguf").write_bytes(damage(good))
    command = [sys.executable, "-c", TRY_ALL, *(str(folder / f"{name}.gguf") for name in DAMAGES)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return dict(zip(DAMAGES, run.stdout.splitlines(), strict=True))


TRY_ALL = """
import resource, sys
from pathlib import Path
from engine.backend.llama_model import LlamaModel, ModelLoadError
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
for path in map(Path, sys.argv[1:]):
    try:
        LlamaModel(path)
    except ModelLoadError as error:
        print(error)
"""


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_file_is_refused(refused: dict[str, str], name: str) -> None:
    assert refused[name].startswith("llama.cpp cannot load ")
    assert f"{name}.gguf': " in refused[name]
    assert "gives no reason" not in refused[name]


class TestTrial:
    @pytest.fixture(autouse=True)
    def own_cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        return tmp_path / "cache"

    @pytest.fixture
    def never(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let every trial fail that starts a process."""
        monkeypatch.setattr(sys, "executable", "/no/such/python")

    @pytest.mark.parametrize("name", ["spm-space", "jamba"])
    def test_a_file_that_passes_is_not_tried_again(
        self, family: Path, name: str, request: pytest.FixtureRequest
    ) -> None:
        path = family / f"{name}.gguf"
        try_out(file_at(path))
        request.getfixturevalue("never")
        try_out(file_at(path))

    def test_a_file_that_has_changed_is_tried_again(
        self, family: Path, tmp_path: Path, request: pytest.FixtureRequest
    ) -> None:
        path = tmp_path / "m.gguf"
        path.write_bytes((family / "spm.gguf").read_bytes())
        trial.remember(path)
        request.getfixturevalue("never")
        try_out(file_at(path))
        path.write_bytes((family / "t5.gguf").read_bytes())
        with pytest.raises(FileNotFoundError, match="/no/such/python"):
            try_out(file_at(path))

    def test_a_program_that_embeds_python_is_not_started(
        self, family: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(sys, "executable", "/usr/bin/uwsgi")
        assert REFUSED["t5"][1] in refusal(family / "t5.gguf")  # by the Python beside it
        monkeypatch.setattr(sys, "prefix", "/nowhere")
        try_out(file_at(family / "t5.gguf"))
        assert "is not tried before it is loaded" in caplog.text

    @pytest.mark.usefixtures("never")
    def test_a_packaged_model_needs_none(self) -> None:
        try_out(locate(MODEL))

    def test_few_files_are_remembered(
        self, own_cache: Path, family: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(notes, "_REMEMBERED", 3)
        for name in GENERATING:
            trial.remember(family / f"{name}.gguf")
        assert len(list((own_cache / "nucleus" / "tried").iterdir())) == 3

    def test_a_cache_that_cannot_be_written_is_done_without(self, own_cache: Path, family: Path) -> None:
        own_cache.write_text("a file where the folder should be")
        trial.remember(family / "spm.gguf")

    def test_a_process_that_is_killed_is_told_by_its_signal(
        self, family: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        killed = tmp_path / "python"
        killed.write_text("#!/bin/sh\nkill -9 $$\n")
        killed.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(killed))
        assert "would have ended this process: SIGKILL." in refusal(family / "spm.gguf")


def test_parameters_are_counted() -> None:
    assert LlamaModel(locate(MODEL).path).info.description == "llama 135M Q4_1"


def test_parameters_of_a_file_that_names_no_size_are_counted(family: Path) -> None:
    count = sum(map(math.prod, llama_shapes(len(SPM)).values()))
    assert LlamaModel(family / "spm.gguf").info.description == f"llama {count / 1000:.1f}K"


def test_no_debugger_is_started_unless_the_user_wants_it() -> None:
    script = """
import importlib, os
os.environ.pop("GGML_NO_BACKTRACE", None)
from engine.backend import llama_log
print(os.environ["GGML_NO_BACKTRACE"])
os.environ["GGML_NO_BACKTRACE"] = "0"
importlib.reload(llama_log)
print(os.environ["GGML_NO_BACKTRACE"])
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["1", "0"]


@pytest.mark.parametrize(("name", "n_attending"), [("qwen3", 2), ("jamba", 1), ("mamba", 0)])
def test_the_cache_is_as_large_as_the_layers_need(family: Path, name: str, n_attending: int) -> None:
    cell_bytes = LlamaModel(family / f"{name}.gguf").cell_bytes
    keys_and_values = 2 * 2 * WIDTH * n_attending
    assert keys_and_values <= cell_bytes <= keys_and_values + 16 * n_attending  # and where it stands
