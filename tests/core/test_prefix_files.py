"""Prefixes in files: what comes back is what was written, or nothing."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.core import prefix_files
from engine.core.loop import StepLoop
from engine.core.prefix_files import PrefixFiles, StoredPrefix
from tests.core.fake_backend import FakeBackend
from tests.core.runs import prompt
from tests.core.steps import SAVES_ALL

if TYPE_CHECKING:
    from pathlib import Path

BOUND = 1 << 20


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefix_files, "_SETTLED_SECONDS", 0.0)


def made(*tokens: int, size: int = 10) -> StoredPrefix:
    pieces = tuple(np.arange(i, i + size, dtype=np.uint8) for i in range(2))
    return StoredPrefix([*tokens], batch_invariant=True, data=pieces)


def stored(folder: Path, *prefixes: StoredPrefix, key: str = "key", bound: int = BOUND) -> list[Path]:
    """Write prefixes, one after the other; return the files."""
    for number, each in enumerate(prefixes):
        files = PrefixFiles(folder, key, bound)
        files.put(number, each)
        files.close()
    return sorted((folder / key).iterdir())


def found(folder: Path, key: str = "key") -> list[StoredPrefix]:
    files = PrefixFiles(folder, key, BOUND)
    try:
        return [each for _, each in files.load()]
    finally:
        files.close()


def same(one: StoredPrefix, other: StoredPrefix) -> bool:
    data = all(np.array_equal(a, b) for a, b in zip(one.data, other.data, strict=True))
    return data and one[:2] == other[:2]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(
    tokens=st.lists(st.integers(0, 2**31 - 1), max_size=9),
    batch_invariant=st.booleans(),
    pieces=st.lists(st.binary(max_size=40), max_size=3),
)
def test_what_was_written_comes_back(
    tmp_path_factory: pytest.TempPathFactory, tokens: list[int], batch_invariant: bool, pieces: list[bytes]
) -> None:
    data = tuple(np.frombuffer(piece, np.uint8) for piece in pieces)
    prefix = StoredPrefix(tokens, batch_invariant, data)
    folder = tmp_path_factory.mktemp("prefixes")
    stored(folder, prefix)
    (back,) = found(folder)
    assert same(back, prefix)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(st.data())
def test_a_file_that_is_not_what_was_written_is_removed(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("prefixes")
    prefix = made(1, 2, 3)
    (file,) = stored(folder, prefix)
    raw = bytearray(file.read_bytes())
    if data.draw(st.booleans(), label="cut"):
        del raw[data.draw(st.integers(0, len(raw) - 1)) :]
    else:
        raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    file.write_bytes(raw)
    back = found(folder)
    assert not back or same(back[0], prefix)
    assert file.exists() == bool(back)


def test_those_of_another_key_are_not_looked_at(tmp_path: Path) -> None:
    stored(tmp_path, made(1, 2), key="another")
    assert found(tmp_path) == []
    assert len(found(tmp_path, "another")) == 1


def test_the_oldest_files_make_room_also_those_of_another_key(tmp_path: Path) -> None:
    (old,) = stored(tmp_path, made(1), key="another")
    size = old.stat().st_size
    files = stored(tmp_path, made(2), made(3), bound=2 * size + size // 2)
    assert len(files) == 2
    assert not old.exists()
    (last,) = stored(tmp_path, made(4), key="third", bound=size + size // 2)
    assert [*tmp_path.glob("*/*.prefix")] == [last]


def test_what_is_dropped_leaves_no_file(tmp_path: Path) -> None:
    files = PrefixFiles(tmp_path, "key", BOUND)
    files.put(1, made(1))
    files.put(2, made(2))
    files.drop(1)
    files.close()
    assert [each.tokens for each in found(tmp_path)] == [[2]]


def test_what_does_not_last_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefix_files, "_SETTLED_SECONDS", 3600.0)
    written: list[list[int]] = []
    write = PrefixFiles._write

    def noted(files: PrefixFiles, prefix: StoredPrefix) -> Path:
        written.append(prefix.tokens)
        return write(files, prefix)

    monkeypatch.setattr(PrefixFiles, "_write", noted)
    files = PrefixFiles(tmp_path, "key", BOUND)
    files.put(1, made(1))
    files.put(2, made(2))
    files.drop(1)
    files.close()
    assert written == [[2]], "when the process ends, what is left is written at once"


def test_a_full_disk_costs_nothing_but_the_prefix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(PrefixFiles, "_write", full)
        stored(tmp_path, made(1))
    assert "No space left" in caplog.text
    assert found(tmp_path) == []
    assert not [each for each in threading.enumerate() if each.name == "nucleus-prefixes"]


def test_nobody_else_may_read_what_users_wrote(tmp_path: Path) -> None:
    (file,) = stored(tmp_path / "new", made(1))
    assert [each.stat().st_mode & 0o077 for each in (file, file.parent)] == [0, 0]


def test_a_file_that_cannot_be_removed_hurts_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(_: Path, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    (file,) = stored(tmp_path, made(1))
    file.write_bytes(b"{}")
    monkeypatch.setattr(type(file), "unlink", refused)
    assert found(tmp_path) == []
    files = PrefixFiles(tmp_path, "key", BOUND)
    files.adopt(1, file)
    files.drop(1)
    files.close()
    assert "Permission denied" in caplog.text


class TestRestart:
    def run(self, folder: Path, tokens: list[int], *, n_cells: int = 64) -> tuple[list[int], int, StepLoop]:
        """Answer one prompt in a process of its own, as far as files can tell."""
        files = PrefixFiles(folder, "key", BOUND)
        steps = StepLoop(
            FakeBackend(n_slots=1, n_cells=n_cells), max_logprobs=5, policy=SAVES_ALL, files=files
        )
        steps.submit(asked := prompt(tokens, max_tokens=4))
        while steps.has_work:
            steps.step(lambda _: None)
        steps.close()
        return asked.sequences[0].generated, asked.n_cached, steps

    def test_a_prompt_that_another_process_has_computed_is_in_the_cache(self, tmp_path: Path) -> None:
        first, cold, _ = self.run(tmp_path, [1, 2, 3, 4, 5, 6])
        second, warm, steps = self.run(tmp_path, [1, 2, 3, 4, 5, 6])
        assert (cold, warm) == (0, 5)
        assert first == second
        assert steps.totals.restored == 1

    def test_more_than_the_cache_holds_is_forgotten_the_oldest_first(self, tmp_path: Path) -> None:
        for start in (1, 10, 20):
            self.run(tmp_path, [start + i for i in range(9)])
        _, cached, steps = self.run(tmp_path, [20 + i for i in range(9)], n_cells=26)
        assert (cached, steps.totals.restored) == (8, 2)
        assert len(found(tmp_path)) <= 2
