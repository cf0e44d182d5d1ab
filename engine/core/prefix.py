"""Which slot's KV cache holds a prompt, so that no choice prefills what a sibling has prefilled.

Shared today: the prompt of the choices of one request, whether they run at once or in waves. Sharing between
requests belongs here too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.core.sequence import Prompt


class PrefixIndex:
    """The slots that hold a whole prompt."""

    def __init__(self) -> None:
        self._prompt_of: dict[int, Prompt] = {}

    def hold(self, slot: int, prompt: Prompt) -> None:
        """Note that ``slot`` has ``prompt`` in its cache, whatever follows there."""
        self._prompt_of[slot] = prompt

    def drop(self, slot: int) -> None:
        """Note that the cache of ``slot`` is gone or about to be overwritten."""
        self._prompt_of.pop(slot, None)

    def holders(self, prompt: Prompt) -> list[int]:
        """Return the slots that hold ``prompt``."""
        return [slot for slot, held in self._prompt_of.items() if held is prompt]

    def holds(self, slot: int) -> Prompt | None:
        """Return the prompt that ``slot`` holds."""
        return self._prompt_of.get(slot)
