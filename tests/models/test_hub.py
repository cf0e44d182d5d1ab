"""A model's name and the files of the hub that it means."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import constants

from engine.models.names import locate
from tests.models.names import GGUF, failure, use
from tests.standins.hub import TOKEN, Hub, Repository


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
        assert hub.fetched == []

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

    def test_download_goes_on_after_a_cut(self, hub: Hub) -> None:
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
        assert "may lie outside of the cache" in failure("acme/m")
        assert not (tmp_path / "hub").exists()

    @pytest.mark.usefixtures("hub")
    def test_unreachable(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with Hub() as stopped:
            use(stopped, monkeypatch)
        assert f"cannot be fetched from the hub at {stopped.url}" in failure("acme/m")

    @pytest.mark.parametrize("outage", ["unreachable", "failing", "busy", "offline"])
    def test_downloaded_before_an_outage(
        self, outage: str, hub: Hub, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hub.repositories["acme/m"] = Repository({"m.Q4_0.gguf": GGUF, "m.Q8_0.gguf": GGUF})
        before = locate("acme/m:Q8_0")
        hub.failing = 429 if outage == "busy" else 503
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
            [sys.executable, "-c", "from engine.models.names import locate; print(locate('acme/m').path)"],
            env={**os.environ, "HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "HF_HOME": str(tmp_path / "home")},
            capture_output=True,
            text=True,
            check=True,
        )
        assert Path(run.stdout.strip()).is_relative_to(tmp_path / "home")
