"""What a shell completes: verbs, options, and the models on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.commands.run import Command


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("nucleus com", ["complete"]),
        ("nucleus complete --max-t", ["--max-tokens"]),
        ("nucleus serve smollm2", ["smollm2-135m-instruct"]),
        ("nucleus tokenize --model gemma", ["gemma-3-270m"]),
    ],
)
def test_a_word_is_completed(
    command: Command, monkeypatch: pytest.MonkeyPatch, words: str, completed: list[str]
) -> None:
    monkeypatch.setenv("_NUCLEUS_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
    assert command().out.split() == completed
