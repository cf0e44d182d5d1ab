"""``nucleus chat``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.commands.conversation import Conversation
from engine.commands.local import MODEL_OPTIONS, load
from engine.commands.options import takes
from engine.commands.request_options import RequestOptions
from engine.commands.terminal import quiet_logging, write
from engine.commands.texts import given_text
from engine.contract.chat import ChatRequest
from engine.loading.options import EngineOptions

if TYPE_CHECKING:
    from engine.llm import LLM

_DECIDED_BY_CHATTING = (
    "n",
    "logprobs",
    "top_logprobs",
    "max_completion_tokens",
    "add_generation_prompt",
    "continue_final_message",
    "return_token_ids",
)
_DEFAULTS = {"temperature": 0.7, "top_p": 0.95}
"""Milder than a request's own: small models talk nonsense at a temperature of 1."""
_SOMETHING = {"messages": [{"role": "user", "content": "Hi"}]}


@takes(
    request=RequestOptions(ChatRequest, stand_in=_SOMETHING, omit=_DECIDED_BY_CHATTING, defaults=_DEFAULTS),
    options=MODEL_OPTIONS,
)
def chat(
    options: EngineOptions,
    request: dict[str, Any],
    *,
    message: Annotated[
        str | None,
        typer.Argument(metavar="MESSAGE", help="Answer this one message and end; - reads standard input."),
    ] = None,
    system: Annotated[
        str | None, typer.Option("--system", "-s", metavar="TEXT", help="What the model is told beforehand.")
    ] = None,
) -> None:
    """Talk with a model.

    nucleus chat

    nucleus chat "Name three rivers." --system "Be brief."

    Enter sends, Alt-Enter begins a new line, Ctrl-C stops an answer, Ctrl-D ends; /help lists more.
    """
    quiet_logging()
    talks = message is None and sys.stdin.isatty()
    if not talks:
        message = given_text(message, None, name="MESSAGE")
    with load(options) as llm:
        conversation = Conversation(llm, request, system=system)
        if talks:
            _talk(llm, conversation)
        else:
            for piece in conversation.ask(message or ""):
                write(piece)
            print()


def _talk(llm: LLM, conversation: Conversation) -> None:
    from engine.commands.repl import Repl

    print(f"{llm.name}: /help lists what can be typed.")
    Repl(conversation).run()
