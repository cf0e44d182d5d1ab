"""Downloads over connections that drop, stall and are refused: they go on where they stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from huggingface_hub import constants
from huggingface_hub.utils import WeakFileLock

from engine.models.download_plan import plan_download
from engine.models.hub_cache import RepositoryCache
from engine.models.names import locate
from tests.models.downloads import BODY, NAME, Bar, fetch, interrupt_after, names_in_cache
from tests.models.names import failure
from tests.standins.hub import TOKEN, Hub, Repository

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.usefixtures("acme")
def test_an_interrupted_download_goes_on_at_the_next_run(hub: Hub, tmp_path: Path) -> None:
    interrupt_after(hub, 1000)
    (partial,) = names_in_cache(tmp_path)
    assert partial.endswith(".incomplete")
    assert "is not in the hub's cache" in failure("acme/m", offline=True)
    said: list[str] = []
    assert fetch(say=said.append).read_bytes() == BODY
    assert hub.fetched[-1].range == "bytes=1000-"
    assert said[0].startswith("Going on with m.Q8_0.gguf after 1000 bytes")


@pytest.mark.usefixtures("acme")
def test_a_signal_leaves_what_came(hub: Hub, tmp_path: Path) -> None:
    hub.stall_after = 1000
    environment = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    script = "from engine.models.names import locate; locate('acme/m')"
    run = subprocess.Popen(
        [sys.executable, "-c", script], env={**os.environ, **environment}, stderr=subprocess.DEVNULL
    )
    assert hub.stalled.wait(60)
    run.send_signal(signal.SIGINT)
    assert run.wait(60) == -signal.SIGINT
    (partial,) = names_in_cache(tmp_path)
    assert partial.endswith(".incomplete")
    assert fetch().read_bytes() == BODY


@pytest.mark.parametrize("fault", ["cut_after", "stall_after"])
@pytest.mark.usefixtures("acme")
def test_a_dropped_connection_is_made_again(fault: str, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.1)
    setattr(hub, fault, 1000)
    said: list[str] = []
    assert fetch(say=said.append).read_bytes() == BODY
    assert [seen.range for seen in hub.fetched] == [None, "bytes=1000-"]
    assert "The connection was lost" in said[0]


@pytest.mark.parametrize("ignores_ranges", [False, True])
@pytest.mark.usefixtures("acme")
def test_the_bar_counts_what_is_here_whatever_happens(ignores_ranges: bool, hub: Hub) -> None:
    interrupt_after(hub, 500)
    bars: list[Bar] = []

    class Kept(Bar):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            bars.append(self)
            assert self.done == 500

    hub.cut_after, hub.ignores_ranges = 1000, ignores_ranges
    assert fetch(tqdm_class=Kept).read_bytes() == BODY
    assert [(bar.done, bar.total) for bar in bars] == [(len(BODY), len(BODY))]


@pytest.mark.usefixtures("acme")
def test_a_connection_that_always_drops_is_given_up(hub: Hub) -> None:
    with Hub() as stopped:
        hub.elsewhere = stopped.url
    assert "cannot be fetched" in failure("acme/m")
    assert len(hub.fetched) == 6
    assert "is not in the hub's cache" in failure("acme/m", offline=True)


def test_a_token_stays_with_the_hub(hub: Hub, acme: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    acme.gated = True
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with Hub({"acme/m": Repository({NAME: BODY})}) as store:
        hub.elsewhere = store.url
        assert fetch().read_bytes() == BODY
    assert hub.fetched[-1].authorized
    assert not store.fetched[-1].authorized


@pytest.mark.parametrize(
    ("status", "complaint", "tries"),
    [
        (401, "no repository 'acme/m' that you may read (401)", 1),
        (403, "no repository 'acme/m' that you may read (403)", 1),
        (404, "no repository 'acme/m' that you may read (404)", 1),
        (418, "answered 418", 1),
        (429, "It limits how often it is asked", 6),
        (500, "Try again later", 6),
        (503, "Try again later", 6),
    ],
)
@pytest.mark.usefixtures("acme")
def test_a_refusal_is_told_and_tried_again_where_that_may_help(
    status: int, complaint: str, tries: int, hub: Hub
) -> None:
    hub.failing_files = status
    assert complaint in failure("acme/m")
    assert len(hub.fetched) == tries
    hub.failing_files = None
    assert fetch().read_bytes() == BODY


@pytest.mark.usefixtures("acme")
def test_while_another_program_fetches_the_same_it_is_waited_for(hub: Hub) -> None:
    cache = RepositoryCache("acme/m")
    digest = plan_download("acme/m", None).remote.files[0].digest  # type: ignore[union-attr]
    lock = cache.root / ".locks" / cache.folder.name / f"{digest}.lock"
    lock.parent.mkdir(parents=True)
    said: list[str] = []
    waiting = threading.Event()

    def say(line: str) -> None:
        said.append(line)
        waiting.set()

    with WeakFileLock(lock):
        run = threading.Thread(target=fetch, kwargs={"say": say})
        run.start()
        assert waiting.wait(30)
        cache.blob(digest).parent.mkdir(parents=True)
        cache.blob(digest).write_bytes(BODY)
    run.join()
    assert said == ["Another program fetches the same file; waiting for it."]
    assert hub.fetched == []
    assert locate("acme/m", offline=True).path.read_bytes() == BODY
