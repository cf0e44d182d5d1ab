"""Temporary files go, and nothing is written over."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from engine.errors import InvalidRequestError
from engine.tuning.output import check_new, copy_new
from engine.tuning.workspace import Workspace, why_no_room

if TYPE_CHECKING:
    from pathlib import Path

KILLED = """
import os, signal, sys
from pathlib import Path
from engine.tuning.workspace import Workspace
with Workspace(Path(sys.argv[1])) as made:
    made.new_path(".gguf").write_text("large")
    os.kill(os.getpid(), signal.SIGKILL)
"""


class TestWorkspace:
    def test_it_goes_with_everything_in_it(self, tmp_path: Path) -> None:
        with Workspace(tmp_path) as made:
            first, second = made.new_path(".gguf"), made.new_path(".gguf")
            first.write_text("a")
            assert first != second
        assert not any(tmp_path.iterdir())

    def test_it_goes_when_the_work_fails(self, tmp_path: Path) -> None:
        made = Workspace(tmp_path)
        made.new_path(".gguf").write_text("a")
        with pytest.raises(KeyboardInterrupt), made:
            raise KeyboardInterrupt
        assert not any(tmp_path.iterdir())

    def test_what_a_killed_process_left_goes_with_the_next_one(self, tmp_path: Path) -> None:
        run = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
        assert run.returncode == -9
        assert len(list(tmp_path.glob("*/*.gguf"))) == 1
        with Workspace(tmp_path):
            assert not list(tmp_path.glob("*/*.gguf"))

    def test_what_is_in_use_stays(self, tmp_path: Path) -> None:
        with Workspace(tmp_path) as first:
            (kept := first.new_path(".gguf")).write_text("a")
            with Workspace(tmp_path):
                assert kept.exists()

    def test_what_is_not_ours_stays(self, tmp_path: Path) -> None:
        (tmp_path / "tune-up").mkdir()
        (tmp_path / "tune-up" / "notes.txt").write_text("a")
        with Workspace(tmp_path):
            pass
        assert (tmp_path / "tune-up" / "notes.txt").exists()

    def test_a_place_that_cannot_be_written_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("a")
        with pytest.raises(InvalidRequestError, match=r"No temporary files can be made in .*--work-dir"):
            Workspace(tmp_path / "file" / "folder")

    def test_a_disk_that_is_too_small_is_told_beforehand(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        usage = shutil.disk_usage(tmp_path)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10**9))
        assert why_no_room(tmp_path, 5 * 10**8) is None
        assert why_no_room(tmp_path, 2 * 10**9) == (
            f"it takes 2.0 GB, and of the disk of {tmp_path} 1.0 GB are free"
        )


class TestOutput:
    @pytest.fixture
    def source(self, tmp_path: Path) -> Path:
        (path := tmp_path / "source").write_bytes(b"weights")
        return path

    def test_a_new_file_is_whole(self, source: Path, tmp_path: Path) -> None:
        copy_new(source, tmp_path / "new.gguf")
        assert (tmp_path / "new.gguf").read_bytes() == b"weights"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["new.gguf", "source"]

    @pytest.mark.parametrize("has_links", [True, False])
    def test_nothing_is_written_over(
        self, source: Path, tmp_path: Path, has_links: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (old := tmp_path / "old.gguf").write_bytes(b"precious")
        if not has_links:
            monkeypatch.setattr(os, "link", _no_links)
        with pytest.raises(FileExistsError):
            copy_new(source, old)
        assert old.read_bytes() == b"precious"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["old.gguf", "source"]

    def test_a_disk_without_links_gets_it_too(
        self, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "link", _no_links)
        copy_new(source, tmp_path / "new.gguf")
        assert (tmp_path / "new.gguf").read_bytes() == b"weights"

    def test_of_what_does_not_fit_nothing_is_left(
        self, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(_source: Any, target: Any, _size: int) -> None:
            target.write(b"wei")
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(shutil, "copyfileobj", full)
        with pytest.raises(OSError, match="No space left"):
            copy_new(source, tmp_path / "new.gguf")
        assert [path.name for path in tmp_path.iterdir()] == ["source"]

    def test_a_path_at_which_nothing_can_be_made_is_refused(self, source: Path, tmp_path: Path) -> None:
        with pytest.raises(InvalidRequestError, match=r"--output: there is a file at .*written over"):
            check_new(source, "output")
        (tmp_path / "link").symlink_to("nowhere")
        with pytest.raises(InvalidRequestError, match="--output: there is a file at"):
            check_new(tmp_path / "link", "output")
        with pytest.raises(InvalidRequestError, match="--output: there is no folder"):
            check_new(tmp_path / "no" / "file", "output")
        check_new(tmp_path / "new.gguf", "output")


def _no_links(_source: Path, _target: Path) -> None:
    raise OSError(errno.EPERM, "Operation not permitted")
