"""A conversation with a model: what was said, and the next answer."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from engine.llm import LLM

Message = dict[str, str]


class Conversation:
    """Messages in turn; an answer that is cut off stays as far as it came, one that fails leaves no trace.

    Args:
        llm: What answers.
        fields: Fields of every request.
        system: What the model is told beforehand, or None.
    """

    def __init__(self, llm: LLM, fields: Mapping[str, Any], *, system: str | None = None) -> None:
        self._llm, self._fields, self.system = llm, fields, system
        self.messages: list[Message] = []

    def ask(self, text: str) -> Generator[str]:
        """Say something, and yield the answer in pieces.

        Raises:
            EngineError: the question is not part of the conversation then.
        """
        self.messages.append({"role": "user", "content": text})
        yield from self._answer()

    def retry(self) -> Generator[str]:
        """Forget the last answer, and yield another one in pieces; nothing if nothing was asked."""
        while self.messages and self.messages[-1]["role"] == "assistant":
            self.messages.pop()
        if self.messages:
            yield from self._answer()

    def undo(self) -> Message | None:
        """Forget the last question with its answer; return the question, or None if there was none."""
        while self.messages:
            message = self.messages.pop()
            if message["role"] == "user":
                return message
        return None

    def clear(self) -> None:
        """Forget all that was said."""
        self.messages.clear()

    def _answer(self) -> Generator[str]:
        begun = [] if self.system is None else [{"role": "system", "content": self.system}]
        said: list[str] = []
        try:
            with closing(self._llm.stream_chat(messages=begun + self.messages, **self._fields)) as chunks:
                for chunk in chunks:
                    for choice in chunk.choices:
                        said.append(choice.delta.content or "")
                        yield said[-1]
        finally:
            if any(said):
                self.messages.append({"role": "assistant", "content": "".join(said)})
            else:
                self.messages.pop()
