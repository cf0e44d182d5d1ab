"""A chat template comes with a model file, from anybody: it is recognised by llama.cpp, and never run."""

from __future__ import annotations

import ast
import ctypes
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import llama_cpp
import pytest

import engine
from engine.backend.llama_model import LlamaModel
from engine.contract.conversation import Chat, Message
from engine.service.chat_prompt import chat_prompt
from tests.core.fake_backend import FakeBackend
from tests.kinds import vocabularies
from tests.kinds.files import ModelSpec
from tests.kinds.vocabularies import Vocabulary

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    assert model.apply_chat_template([("user", "Hi")], add_generation_prompt=True) == (
        CHATML if known else None
    )
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


def builtin_templates() -> list[str]:
    """Return the names of all templates that llama.cpp knows; it takes a name for the template itself."""
    count = llama_cpp.llama_chat_builtin_templates(None, 0)
    names = (ctypes.c_char_p * count)()
    llama_cpp.llama_chat_builtin_templates(names, count)
    return [name.decode() for name in names if name]


class OneTemplate(FakeBackend):
    """A model that has one of them."""

    def __init__(self, template: str) -> None:
        super().__init__()
        self._model = SimpleNamespace(info=SimpleNamespace(chat_template=template))

    def apply_chat_template(
        self, messages: Sequence[tuple[str, str]], *, add_generation_prompt: bool
    ) -> str | None:
        model = cast("LlamaModel", self._model)
        return LlamaModel.apply_chat_template(model, messages, add_generation_prompt=add_generation_prompt)


@pytest.mark.parametrize("template", builtin_templates())
def test_a_message_is_continued_in_front_of_what_ends_it(template: str) -> None:
    backend = OneTemplate(template)
    asked = [Message(role="system", content="S"), Message(role="user", content="It ends in a space ")]
    before = backend.apply_chat_template([(m.role, m.content) for m in asked], add_generation_prompt=False)
    assert before is not None
    for begun in ("", "A", "It ends in a space ", "天\n", "\ufdd0"):
        answer = Message(role="assistant", content=begun)
        prompt = chat_prompt(backend, Chat([*asked, answer], False, True))
        pairs = [(m.role, m.content) for m in (*asked, answer)]
        whole = backend.apply_chat_template(pairs, add_generation_prompt=False)
        assert whole is not None
        assert prompt.endswith(begun)
        assert whole.startswith(prompt.rstrip()) or not begun.strip()
        assert prompt.startswith(before[:-12]), "the chat before is as it is without the answer"
