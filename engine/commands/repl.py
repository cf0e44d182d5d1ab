"""The lines of ``nucleus chat`` on a terminal: editing, history, and the words that begin with a slash."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import WordCompleter
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings

from engine.commands.terminal import write
from engine.errors import ContextLengthError, EngineError
from engine.models.packaged import cache_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prompt_toolkit.key_binding import KeyPressEvent

    from engine.commands.conversation import Conversation


class Repl:
    """Reads lines, answers them, and obeys what begins with a slash.

    Args:
        conversation: What is said.
        session: What reads a line; None: the terminal, with a history that outlives it.
    """

    def __init__(self, conversation: Conversation, session: PromptSession[str] | None = None) -> None:
        self._conversation = conversation
        self._orders: dict[str, tuple[str, Callable[[str], Any]]] = {
            "/help": ("list these", self._help),
            "/retry": ("answer the last message anew", lambda _: self._say(conversation.retry())),
            "/undo": ("take the last message back, with its answer", self._undo),
            "/clear": ("forget all that was said", lambda _: conversation.clear()),
            "/system": ("TEXT: tell the model something beforehand; nothing: no longer", self._system),
            "/save": ("FILE: write the conversation as JSON", self._save),
            "/exit": ("end, as Ctrl-D does", self._exit),
        }
        self._session = session or terminal(list(self._orders))

    def run(self) -> None:
        """Read and answer until the end of the input."""
        while True:
            try:
                line = self._session.prompt().strip()
                if line.startswith("/"):
                    self._obey(line)
                elif line:
                    self._say(self._conversation.ask(line))
            except KeyboardInterrupt:
                continue
            except EOFError:
                return
            except (EngineError, OSError) as error:
                print(_told(error))

    def _obey(self, line: str) -> None:
        word, _, rest = line.partition(" ")
        if word not in self._orders:
            print(f"{word} is unknown; /help lists what there is.")
            return
        self._orders[word][1](rest.strip())

    def _say(self, pieces: Iterator[str]) -> None:
        try:
            for piece in pieces:
                write(piece)
        finally:
            print()

    def _help(self, _: str) -> None:
        print("Enter sends, Alt-Enter begins a new line, Ctrl-C stops an answer, Ctrl-D ends.")
        for word, (meaning, _order) in self._orders.items():
            print(f"  {word:<8} {meaning}")

    def _undo(self, _: str) -> None:
        taken = self._conversation.undo()
        print("There is nothing to take back." if taken is None else f"Taken back: {taken['content'][:60]}")

    def _system(self, text: str) -> None:
        self._conversation.system = text or None

    def _save(self, name: str) -> None:
        if not name:
            print("Give the name of a file: /save talk.json")
            return
        system = self._conversation.system
        begun = [] if system is None else [{"role": "system", "content": system}]
        with Path(name).expanduser().open("x", encoding="utf-8") as file:
            json.dump(begun + self._conversation.messages, file, indent=2, ensure_ascii=False)
        print(f"Written to {name}.")

    def _exit(self, _: str) -> None:
        raise EOFError


def _told(error: EngineError | OSError) -> str:
    if isinstance(error, ContextLengthError):
        return f"{error} /clear begins anew, /undo takes the last message back."
    return str(error)


def terminal(words: list[str], **streams: Any) -> PromptSession[str]:
    """Return what reads lines with a history that outlives it, and completes some words.

    Args:
        words: The words.
        **streams: ``input`` and ``output``, where they are not this process's own.
    """
    keys = KeyBindings()

    @keys.add("escape", "enter")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    return PromptSession(
        FormattedText([("bold", "> ")]),
        history=_history(),
        completer=WordCompleter(words, sentence=True),
        complete_while_typing=False,
        key_bindings=keys,
        prompt_continuation="  ",
        **streams,
    )


def _history() -> History:
    file = cache_folder() / "chat-history"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(file, os.O_CREAT | os.O_WRONLY, 0o600))  # what was typed is nobody else's
    except OSError:
        return InMemoryHistory()
    return FileHistory(file)
