"""From a chat to the text that continues it, as the model's own template writes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.errors import InvalidRequestError

if TYPE_CHECKING:
    from engine.backend.base import Backend
    from engine.contract.conversation import Chat

_MARK = "\ufdd0"
"""A letter that means nothing and that no template writes."""


def chat_prompt(backend: Backend, chat: Chat) -> str:
    """Return the prompt of a chat.

    A template knows no message that is not over. So the last message, where it is to be continued, is written
    with a mark behind it, and the prompt is cut there: in front of whatever ends a message.

    Raises:
        InvalidRequestError: the model has no template that llama.cpp knows.
    """
    messages = [(message.role, message.content) for message in chat.messages]
    if chat.continue_final_message:
        role, content = messages[-1]
        messages[-1] = (role, content + _MARK)
    text = backend.apply_chat_template(messages, add_generation_prompt=chat.add_generation_prompt)
    if text is None:
        raise InvalidRequestError(
            "'messages' needs a chat template that llama.cpp knows, and this model has none.",
            param="messages",
        )
    return text[: text.rindex(_MARK)] if chat.continue_final_message else text
