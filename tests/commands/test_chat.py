"""``nucleus chat``: a conversation, and the lines of a terminal that keep it."""

from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from prompt_toolkit import PromptSession
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from engine import LLM
from engine.commands import repl
from engine.commands.conversation import Conversation
from engine.commands.repl import Repl
from engine.errors import ContextLengthError
from tests.conftest import MODEL

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.commands.run import Command

GREEDY = {"temperature": 0, "max_tokens": 8}


@pytest.fixture(scope="module")
def llm() -> Iterator[LLM]:
    with LLM(MODEL, parallel=1, ctx_size=256) as loaded:
        yield loaded


@pytest.fixture
def talk(llm: LLM) -> Conversation:
    return Conversation(llm, GREEDY)


def typed(talk: Conversation, text: str) -> None:
    """Type a text, and end the input."""
    with create_pipe_input() as keys:
        keys.send_text(text)
        session: PromptSession[str] = PromptSession(input=keys, output=DummyOutput())
        Repl(talk, session).run()


def roles(talk: Conversation) -> list[str]:
    return [message["role"] for message in talk.messages]


def test_what_was_said_is_known_in_the_next_turn(talk: Conversation) -> None:
    first = "".join(talk.ask("Hi"))
    second = "".join(talk.ask("Hi"))
    assert roles(talk) == ["user", "assistant", "user", "assistant"]
    assert [message["content"] for message in talk.messages[1::2]] == [first, second]
    assert talk.undo() == {"role": "user", "content": "Hi"}
    assert "".join(talk.ask("Hi")) == second
    assert "".join(talk.retry()) == second
    talk.clear()
    assert "".join(talk.ask("Hi")) == first
    assert [talk.undo() is None for _ in range(2)] == [False, True]
    assert list(talk.retry()) == []


def test_a_system_message_changes_the_answer(llm: LLM, talk: Conversation) -> None:
    pirate = Conversation(llm, GREEDY, system="You are a pirate. Say only: Arr!")
    assert "".join(pirate.ask("Who are you?")) != "".join(talk.ask("Who are you?"))
    assert roles(pirate) == ["user", "assistant"]


def test_an_answer_that_is_cut_off_stays_as_far_as_it_came(talk: Conversation) -> None:
    with closing(talk.ask("Tell me a story.")) as pieces:
        begun = next(piece for piece in pieces if piece)
    assert talk.messages[-1] == {"role": "assistant", "content": begun}


def test_a_question_that_fails_leaves_no_trace(talk: Conversation) -> None:
    with pytest.raises(ContextLengthError):
        list(talk.ask("word " * 300))
    assert talk.messages == []


def test_lines_are_answered_and_slashes_obeyed(
    talk: Conversation, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "talk.json"
    typed(
        talk,
        f"Hi\r/system Be brief.\r/retry\r/save {file}\r/save {file}\r/nonsense\r/help\r/save\r\r/exit\rHi\r",
    )
    said = capsys.readouterr().out
    assert roles(talk) == ["user", "assistant"]
    assert talk.messages[1]["content"] in said
    assert json.loads(file.read_text()) == [{"role": "system", "content": "Be brief."}, *talk.messages]
    assert "File exists" in said
    assert "/nonsense is unknown" in said
    assert "Alt-Enter" in said
    assert "Give the name of a file" in said


def test_undo_and_clear(talk: Conversation, capsys: pytest.CaptureFixture[str]) -> None:
    typed(talk, "/undo\rHi\r/undo\rHi\r/clear\r\x04")
    assert talk.messages == []
    assert "nothing to take back" in capsys.readouterr().out


def test_a_line_break_is_part_of_a_message_and_ctrl_c_forgets_a_line(
    talk: Conversation, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with create_pipe_input() as keys:
        keys.send_text("forgotten\x03one\x1b\rtwo\r\x04")
        session = repl.terminal(["/help"], input=keys, output=DummyOutput())
        Repl(talk, session).run()
    assert talk.messages[0]["content"] == "one\ntwo"
    history = tmp_path / "nucleus" / "chat-history"
    assert "+one" in history.read_text()
    assert history.stat().st_mode & 0o077 == 0


def test_what_does_not_fit_says_how_to_go_on(talk: Conversation, capsys: pytest.CaptureFixture[str]) -> None:
    typed(talk, "word " * 300 + "\r\x04")
    assert "/clear begins anew" in capsys.readouterr().out


def test_one_message_is_answered_and_that_is_all(command: Command) -> None:
    flags = ("--temperature", "0", "--max-tokens", "8", "--ctx-size", "256")
    given = command("chat", "Hi", *flags)
    assert given.status == 0, given.err
    assert len(given.out) > 5
    assert command("chat", *flags, stdin=b"Hi\n").out == given.out
    assert command("chat", "Hi", *flags, "--system", "Only say: Arr!").out != given.out


def test_a_model_without_a_template_is_one_line(command: Command, tiny_model: str) -> None:
    run = command("chat", "Hi", "--model", tiny_model, "--ctx-size", "64")
    assert run.status == 1
    assert "template" in run.err
