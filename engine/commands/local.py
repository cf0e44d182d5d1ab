"""A model in the command's own process: the options of the verbs that load one, and how they do."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from engine.commands.options import SettingsOptions
from engine.commands.terminal import harmless
from engine.loading.options import EngineOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from engine.llm import LLM

_PANEL = "Model and machine"
_DECIDED_BY_THE_VERB = ("alias", "parallel", "max_logprobs", "max_requests", "max_seconds")
_MOST_AT_ONCE = 16
_MOST_LOGPROBS = 100

MODEL_OPTIONS = SettingsOptions(EngineOptions, omit=_DECIDED_BY_THE_VERB, panel=_PANEL)
"""For a verb that decides itself how much runs at once."""


def load(options: EngineOptions, *, parallel: int = 1, **more: Any) -> LLM:
    """Load a model for a verb.

    Args:
        options: How to load it.
        parallel: Sequences that the verb could use at once.
        **more: Options that the verb decides itself.
    """
    from engine.llm import LLM

    chosen = {"parallel": min(parallel, _MOST_AT_ONCE), "max_logprobs": _MOST_LOGPROBS, **more}
    with _said(f"Loading {options.model} …"):
        return LLM(**options.model_dump() | chosen)


@contextmanager
def _said(text: str) -> Iterator[None]:
    """Show a text while something takes its time, to a person."""
    if not sys.stderr.isatty():
        yield
        return
    print(harmless(text), end="", file=sys.stderr, flush=True)
    try:
        yield
    finally:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
