"""A chat template comes with a model file, from anybody: it is recognised by llama.cpp, and never run."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import engine
from engine.backend.llama_model import LlamaModel
from tests.models import vocabularies
from tests.models.files import ModelSpec
from tests.models.vocabularies import Vocabulary

if TYPE_CHECKING:
    from gguf import GGUFWriter

CHATML = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
ENGINES = {"jinja2", "mako", "chevron", "llama_cpp.llama_chat_format"}
"""What could run a template; llama-cpp-python brings the last one, in which CVE-2024-34359 was."""


@dataclass(frozen=True)
class WithTemplate(Vocabulary):
    template: str = ""

    def write(self, writer: GGUFWriter) -> None:
        super().write(writer)
        writer.add_chat_template(self.template)


@pytest.mark.parametrize("known", ["", "<|im_start|>"])
@pytest.mark.parametrize(
    "code",
    [
        "{{ ().__class__.__base__.__subclasses__() }}",
        "{{ cycler.__init__.__globals__.os.popen('touch ' ~ 'FLAG') }}",
        "{% for c in [].__class__.__base__.__subclasses__() %}{{ c }}{% endfor %}",
        "{{ 6 * 7 }}{{ messages[0]['content'] }}",
        "{% for i in range(10 ** 9) %}{% endfor %}",
        "{{ raise_exception('no') }}",
    ],
)
def test_the_template_of_a_file_is_recognised_or_refused_and_never_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, known: str
) -> None:
    monkeypatch.chdir(tmp_path)
    vocabulary = WithTemplate(**vars(vocabularies.spm()), template=known + code)
    model = LlamaModel(ModelSpec(vocabulary).write(tmp_path / "m.gguf"))
    assert model.info.chat_template == known + code, "clients may read it"
    assert model.apply_chat_template([("user", "Hi")]) == (CHATML if known else None)
    assert [path.name for path in tmp_path.iterdir()] == ["m.gguf"]


def test_no_module_of_ours_imports_a_template_engine() -> None:
    imported = set()
    for path in Path(engine.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    assert "llama_cpp" in imported
    assert not imported & ENGINES
