"""Downloads from a hub that drops connections, lies and breaks: what is kept, what is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from huggingface_hub import constants
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import ModelLoadError
from engine.models.download import download
from engine.models.download_plan import plan_download
from engine.models.hub import refuse_climbing
from engine.models.hub_cache import RepositoryCache
from engine.models.names import locate
from tests.models.downloads import BODY, NAME, fetch, interrupt_after, names_in_cache
from tests.models.names import GGUF, failure
from tests.standins.hub import COMMIT, Hub, Repository, sha1

if TYPE_CHECKING:
    from collections.abc import Callable


class TestPlan:
    def test_it_says_what_is_to_be_fetched_and_writes_nothing(self, hub: Hub, tmp_path: Path) -> None:
        files = {f"m-Q8_0-0000{part}-of-00003.gguf": BODY[: 100 * part] for part in (1, 2, 3)}
        hub.repositories["acme/m"] = Repository({"README.md": b"#", **files}, licence="apache-2.0")
        plan = plan_download("acme/m", "Q8_0")
        assert [(file.name, file.n_bytes, file.n_here) for file in plan.files] == [
            (name, len(body), 0) for name, body in files.items()
        ]
        assert (plan.n_bytes, plan.n_missing, plan.fits_disk) == (600, 600, True)
        assert plan.path.name == next(iter(files))
        assert not (tmp_path / "hub").exists()
        assert hub.fetched == []
        assert json.loads(json.dumps(plan.as_json()))["licence"] == "apache-2.0"

    @pytest.mark.usefixtures("acme")
    def test_what_is_here_is_not_missing(self) -> None:
        fetch()
        plan = plan_download("acme/m", None)
        assert (plan.n_missing, plan.files[0].is_here) == (0, True)

    @pytest.mark.usefixtures("acme")
    def test_half_a_file_is_half_missing(self, hub: Hub) -> None:
        interrupt_after(hub, 1000)
        assert plan_download("acme/m", None).n_missing == len(BODY) - 1000

    def test_a_new_commit_with_the_same_file_fetches_nothing(self, hub: Hub, acme: Repository) -> None:
        fetch()
        acme.commit, hub.seen[:] = "f" * 40, []
        assert plan_download("acme/m", None).n_missing == 0
        assert fetch().read_bytes() == BODY
        assert hub.fetched == []
        assert locate("acme/m", offline=True).path.parent.name == "f" * 40

    @pytest.mark.usefixtures("acme")
    def test_a_disk_without_room_is_refused_before_anything_is_fetched(
        self, hub: Hub, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Usage(NamedTuple):
            free: int

        monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(free=(512 << 20) + len(BODY) - 1))
        assert plan_download("acme/m", None).fits_disk is False
        assert "needs 5144 bytes more" in failure("acme/m")
        assert hub.fetched == []

    def test_a_mirror_that_lists_names_alone_is_asked_for_the_rest(self, hub: Hub, acme: Repository) -> None:
        hub.lists_names_alone = True
        assert fetch().read_bytes() == BODY
        acme.files["n.gguf"], hub.etag = BODY, "W/7"
        with pytest.raises(ModelLoadError, match="no size and no digest, so that it could not be checked"):
            plan_download("acme/m", "n")

    @pytest.mark.usefixtures("acme")
    def test_a_commit_that_is_none_is_refused(self, acme: Repository, tmp_path: Path) -> None:
        acme.commit = "../../../../evil"
        assert "gives 'acme/m' no commit" in failure("acme/m")
        assert not (tmp_path / "hub").exists()


class TestNamesThatClimb:
    @pytest.mark.parametrize(
        "name",
        [
            "../../../evil.gguf",
            "/etc/evil.gguf",
            "a/../../evil.gguf",
            "a/./evil.gguf",
            "a//evil.gguf",
            "..\\..\\evil.gguf",
            "C:\\evil.gguf",
            "c:evil.gguf",
            "evil\0.gguf",
            "ev\x1bil.gguf",
            "evil\n.gguf",
            "\ud800evil.gguf",
            f"{'e' * 300}.gguf",
        ],
    )
    def test_they_are_refused_before_anything_is_written(self, name: str, hub: Hub, tmp_path: Path) -> None:
        hub.repositories["acme/m"] = Repository({name: BODY})
        complaint = failure("acme/m")
        assert "may lie outside of the cache" in complaint
        assert complaint.isprintable()
        assert not (tmp_path / "hub").exists()
        assert hub.fetched == []

    @given(st.text() | st.lists(st.sampled_from(["..", ".", "", "a", "\\", "~", "/"])).map("/".join))
    def test_whatever_is_let_through_lies_inside(self, name: str) -> None:
        try:
            refuse_climbing("acme/m", [name])
        except ModelLoadError:
            return
        inside = Path(os.path.normpath(Path("/cache", name)))
        assert inside.is_relative_to("/cache")
        assert inside != Path("/cache")


class TestDigests:
    @pytest.mark.parametrize("in_git", [False, True])
    def test_a_right_one(self, in_git: bool, acme: Repository) -> None:
        acme.in_git = in_git
        path = fetch()
        assert path.read_bytes() == BODY
        assert len(path.resolve().name) == (40 if in_git else 64)

    @pytest.mark.parametrize("digest", ["0" * 64, sha1(b"another")])
    def test_a_wrong_one_leaves_nothing(self, digest: str, acme: Repository, tmp_path: Path) -> None:
        acme.digests[NAME] = digest
        acme.in_git = len(digest) == 40
        complaint = failure("acme/m")
        assert "came damaged from" in complaint
        assert f"not {digest[:16]}…" in complaint
        assert names_in_cache(tmp_path) == set()
        assert "is not in the hub's cache" in failure("acme/m", offline=True)

    @pytest.mark.usefixtures("acme")
    def test_half_a_file_of_another_is_fetched_anew(self, hub: Hub) -> None:
        interrupt_after(hub, 1000)
        (partial,) = RepositoryCache("acme/m").partials()
        partial.write_bytes(b"x" * 1000)
        said: list[str] = []
        assert fetch(say=said.append).read_bytes() == BODY
        assert any("is fetched anew" in line for line in said)

    @pytest.mark.parametrize("damage", [BODY[:-1], BODY[:-1] + b"x"], ids=["short", "changed"])
    @pytest.mark.usefixtures("acme")
    def test_what_became_damaged_in_the_cache_is_fetched_again(self, damage: bytes) -> None:
        fetch().write_bytes(damage)
        said: list[str] = []
        assert fetch(say=said.append, check_cached=True).read_bytes() == BODY
        assert any("is damaged" in line for line in said)

    @pytest.mark.usefixtures("acme")
    def test_a_file_elsewhere_that_somebody_linked_to_is_left_alone(self, tmp_path: Path) -> None:
        mine = tmp_path / "mine.gguf"
        mine.write_bytes(GGUF)
        pointer = fetch()
        pointer.unlink()
        pointer.symlink_to(mine)
        assert fetch().read_bytes() == BODY
        assert mine.read_bytes() == GGUF

    @pytest.mark.usefixtures("acme")
    def test_without_the_hub_the_name_in_the_cache_is_the_digest(self) -> None:
        path = fetch()
        plan = plan_download("acme/m", None, offline=True)
        assert download(plan, check_cached=True) == path
        path.write_bytes(BODY[:-1] + b"x")
        with pytest.raises(ModelLoadError, match="is damaged"):
            download(plan, check_cached=True)


class TestSizes:
    @pytest.mark.parametrize("more", [1, -1, 4000, -4000])
    def test_a_lie_leaves_nothing(self, more: int, acme: Repository, tmp_path: Path) -> None:
        acme.sizes[NAME] = len(BODY) + more
        assert f"has {len(BODY) + more} bytes, says" in failure("acme/m")
        assert names_in_cache(tmp_path) == set()
        assert "is not in the hub's cache" in failure("acme/m", offline=True)

    @pytest.mark.usefixtures("acme")
    def test_a_body_without_end_is_cut_off(self, hub: Hub, tmp_path: Path) -> None:
        hub.endless = True
        assert "but it sent more" in failure("acme/m")
        assert names_in_cache(tmp_path) == set()

    def test_an_empty_file_is_no_model(self, hub: Hub) -> None:
        hub.repositories["acme/m"] = Repository({NAME: b""})
        assert "is empty, not a GGUF file" in failure("acme/m")

    @pytest.mark.usefixtures("acme")
    def test_a_file_too_large_for_the_hub_is_not_tried(
        self, hub: Hub, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(constants, "MAX_HTTP_DOWNLOAD_SIZE", len(BODY) - 1)
        assert "hf download acme/m m.Q8_0.gguf" in failure("acme/m")
        assert hub.fetched == []


class TestDisk:
    @pytest.mark.usefixtures("acme")
    def test_a_disk_that_fills_up_keeps_what_came(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr("os.fsync", failing(OSError(28, "No space left on device")))
        assert "The disk is full" in failure("acme/m")
        monkeypatch.undo()
        (partial,) = (tmp_path / "hub").rglob("*.incomplete")
        assert partial.read_bytes() == BODY

    @pytest.mark.usefixtures("acme")
    def test_a_cache_that_cannot_be_written_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "hub").write_bytes(b"a file where the folder should be")
        assert "The hub's cache cannot be used" in failure("acme/m")

    @pytest.mark.usefixtures("acme")
    def test_a_disk_without_links_has_the_file_itself(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Path, "symlink_to", failing(PermissionError(1, "Operation not permitted")))
        path = fetch()
        assert not path.is_symlink()
        assert path.read_bytes() == BODY
        assert path.parent.name == COMMIT
        assert fetch() == path


def failing(error: Exception) -> Callable[..., None]:
    def fail(*_arguments: object) -> None:
        raise error

    return fail
