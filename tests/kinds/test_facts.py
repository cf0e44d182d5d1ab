"""What a file says of itself is what llama.cpp finds when it loads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from engine.backend.llama_model import LlamaModel
from engine.models.choice import Candidate
from engine.models.facts import ModelFacts, facts_of, parts_of, read_facts
from engine.models.gguf_header import Header, read_header
from engine.models.names import locate
from tests.conftest import MODEL
from tests.kinds.files import GENERATING, ModelSpec
from tests.kinds.hostile import SPM

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("name", GENERATING)
def test_the_family(family: Path, name: str) -> None:
    path = family / f"{name}.gguf"
    model, facts = LlamaModel(path), read_facts(path)
    assert (facts.vocabulary, facts.context) == (model.info.n_vocab, model.info.n_ctx_train)
    assert facts.architecture == GENERATING[name].architecture
    assert facts.cell_bytes is not None
    assert facts.cell_bytes <= model.cell_bytes <= facts.cell_bytes + 16  # llama.cpp notes where each cell is


def test_the_packaged_models() -> None:
    assert read_facts(locate(MODEL).path) == ModelFacts(
        "llama", 134_515_008, "Q4_1", 8192, 49152, "apache-2.0", cell_bytes=30 * 3 * 64 * 2 * 2
    )
    assert read_facts(locate("gemma-3-270m").path) == ModelFacts(
        "gemma3", 268_098_176, "Q4_K_M", 32768, 262_144, "gemma", cell_bytes=18 * 1 * 256 * 2 * 2
    )


def test_they_are_read_once(family: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = family / "spm.gguf"
    facts = read_facts(path)
    monkeypatch.delattr("engine.models.facts.read_header")
    assert read_facts(path) == facts


def test_the_weights_of_all_parts_are_counted(family: Path, tmp_path: Path) -> None:
    one = (family / "spm.gguf").read_bytes()
    for part in (1, 2, 3):
        (tmp_path / f"m-0000{part}-of-00003.gguf").write_bytes(one)
    n_weights = read_header(family / "spm.gguf").n_weights
    assert read_facts(tmp_path / "m-00001-of-00003.gguf").parameters == 3 * (n_weights or 0)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("m.gguf", ["m.gguf"]),
        ("m", ["m"]),
        ("m-00001-of-00002.gguf", ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"]),
        ("m-00002-of-00002.gguf", ["m-00002-of-00002.gguf"]),
        ("m-00001-of-00000.gguf", ["m-00001-of-00000.gguf"]),
    ],
)
def test_parts(name: str, parts: list[str], tmp_path: Path) -> None:
    assert [path.name for path in parts_of(tmp_path / name)] == parts


def test_what_a_file_does_not_say_is_not_known() -> None:
    assert facts_of(Header()) == ModelFacts()
    nonsense = Header(values={"general.architecture": 7, "general.license": "", "general.file_type": "Q8_0"})
    assert facts_of(nonsense) == ModelFacts()


def test_a_maker_cannot_write_to_the_terminal(tmp_path: Path) -> None:
    path = ModelSpec(SPM, "x\x1b[2J").write(tmp_path / "m.gguf")
    assert read_facts(path).architecture == "x [2J"


@pytest.mark.parametrize(
    ("stem", "among", "shortest"),
    [
        ("m-Q4_K_M", ["m-Q4_K_M", "m-Q8_0"], "Q4_K_M"),
        ("m.IQ4_XS", ["m.IQ4_XS"], "IQ4_XS"),
        ("Q8_0/m", ["Q8_0/m", "Q4_0/m"], "Q8_0"),
        ("m-UD-Q4_K_XL", ["m-UD-Q4_K_XL", "m-Q4_K_M"], "UD-Q4_K_XL"),
        ("m-Q4_0", ["m-Q4_0", "m-UD-Q4_0"], "m-Q4_0"),
        ("m", ["m", "n"], "m"),
    ],
)
def test_the_shortest_name(stem: str, among: list[str], shortest: str) -> None:
    assert Candidate(stem, "").shortest([Candidate(name, "") for name in among]) == shortest
