"""``rm`` removes what came from the hub, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from engine.errors import ModelLoadError
from engine.models.hub_cache import RepositoryCache
from engine.models.names import locate
from engine.models.packaged import PACKAGED
from engine.models.removal import remove
from tests.models.names import GGUF
from tests.standins.hub import Hub, Repository

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

SMALL, LARGE = GGUF + bytes(100), GGUF + bytes(2000)


def bring(hub: Hub, files: dict[str, bytes], names: Iterable[str] = ("",)) -> list[Path]:
    hub.repositories["acme/m"] = Repository(files)
    return [locate(f"acme/m{name}").path for name in names]


def failure(name: str) -> str:
    with pytest.raises(ModelLoadError) as caught:
        remove(name)
    assert str(caught.value).isprintable()
    return str(caught.value)


def names_left(tmp_path: Path) -> set[str]:
    paths = (path for path in (tmp_path / "hub").rglob("*") if ".locks" not in path.parts)
    return {path.name for path in paths if path.is_file() or path.is_symlink()}


def test_the_last_model_takes_the_folder_with_it(hub: Hub, tmp_path: Path) -> None:
    bring(hub, {"m-Q8_0.gguf": LARGE})
    removed = remove("acme/m")
    assert (removed.files, removed.freed) == (("m-Q8_0.gguf",), len(LARGE))
    assert not RepositoryCache("acme/m").folder.exists()
    assert "has no model of 'acme/m'" in failure("acme/m")


def test_one_of_several_is_named(hub: Hub, tmp_path: Path) -> None:
    _, other = bring(hub, {"m-Q8_0.gguf": LARGE, "m-Q4_0.gguf": SMALL}, [":Q8_0", ":Q4_0"])
    complaint = failure("acme/m")
    assert "'acme/m' means 2 of the models in the cache: acme/m:Q4_0, acme/m:Q8_0." in complaint
    assert "'acme/m:Q5_0' means none of the models" in failure("acme/m:Q5_0")
    assert remove("acme/m:Q8_0").freed == len(LARGE)
    assert other.read_bytes() == SMALL
    assert names_left(tmp_path) == {"m-Q4_0.gguf", other.resolve().name, "main"}
    assert locate("acme/m", offline=True).path == other


def test_all_of_a_repository(hub: Hub, tmp_path: Path) -> None:
    bring(hub, {"m-Q8_0.gguf": LARGE, "m-Q4_0.gguf": SMALL}, [":Q8_0", ":Q4_0"])
    RepositoryCache("acme/m").partial("0" * 64).write_bytes(bytes(10))
    removed = remove("acme/m", everything=True)
    assert (removed.files, removed.freed) == (("m-Q4_0.gguf", "m-Q8_0.gguf"), len(LARGE) + len(SMALL) + 10)
    assert names_left(tmp_path) == set()
    assert removed.as_json() == {"files": ["m-Q4_0.gguf", "m-Q8_0.gguf"], "freed": removed.freed}


def test_all_parts_of_a_split_one_even_if_some_are_missing(hub: Hub, tmp_path: Path) -> None:
    parts = {f"m-0000{part}-of-00003.gguf": LARGE + b"%d" % part for part in (1, 2, 3)}
    (first,) = bring(hub, parts)
    first.with_name("m-00002-of-00003.gguf").unlink()
    assert len(remove("acme/m").files) == 2
    assert names_left(tmp_path) & parts.keys() == set()


def test_all_commits_that_have_it(hub: Hub, tmp_path: Path) -> None:
    bring(hub, {"m-Q8_0.gguf": LARGE})
    hub.repositories["acme/m"].commit = "e" * 40
    locate("acme/m")
    assert remove("acme/m:Q8_0").freed == len(LARGE)
    assert names_left(tmp_path) == set()


def test_what_another_model_shares_stays(hub: Hub) -> None:
    _, other = bring(hub, {"m-Q8_0.gguf": LARGE, "n-Q8_0.gguf": LARGE}, [":m-Q8_0", ":n-Q8_0"])
    assert remove("acme/m:m-Q8_0").freed == 0
    assert other.read_bytes() == LARGE


def test_files_of_other_programs_stay(hub: Hub, tmp_path: Path) -> None:
    (path,) = bring(hub, {"m-Q8_0.gguf": LARGE})
    (path.parent / "config.json").write_text("{}")
    assert remove("acme/m").freed == len(LARGE)
    assert names_left(tmp_path) == {"config.json", "main"}


def test_half_a_download_alone(hub: Hub, tmp_path: Path) -> None:
    partial = RepositoryCache("acme/m").partial("0" * 64)
    partial.parent.mkdir(parents=True)
    partial.write_bytes(bytes(1000))
    removed = remove("acme/m:Q8_0")
    assert (removed.files, removed.freed) == ((), 1000)
    assert names_left(tmp_path) == set()


def test_a_model_that_is_open_goes_and_stays_with_who_has_it(hub: Hub) -> None:
    (path,) = bring(hub, {"m-Q8_0.gguf": LARGE})
    with path.open("rb") as file:
        remove("acme/m")
        assert not path.exists()
        assert file.read() == LARGE


@pytest.mark.parametrize("name", PACKAGED)
def test_a_packaged_model_stays(name: str) -> None:
    assert "pip uninstall" in failure(name)


def test_a_local_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(SMALL)
    assert "is a file of yours" in failure(str(path))
    assert path.read_bytes() == SMALL


@pytest.mark.parametrize("name", ["../../etc", "a/../b", "a", "/etc/passwd", "a/b/c", "a/b:../c"])
def test_other_names_are_refused(name: str, hub: Hub) -> None:
    assert repr(name) in failure(name)


def test_a_damaged_cache_is_told(hub: Hub) -> None:
    bring(hub, {"m-Q8_0.gguf": LARGE})
    cache = RepositoryCache("acme/m")
    (cache.folder / "refs" / "other").write_text("f" * 40)
    complaint = failure("acme/m")
    assert "is damaged" in complaint
    assert str(cache.folder) in complaint


def test_what_cannot_be_removed_is_told(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    (path,) = bring(hub, {"m-Q8_0.gguf": LARGE})

    def refuse(*_arguments: object, **_options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("shutil.rmtree", refuse)
    assert "cannot be removed" in failure("acme/m")
    assert path.exists()
