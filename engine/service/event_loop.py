"""The event loop that the server and :class:`engine.llm.LLM` run on: uvloop's, where there is one."""

from __future__ import annotations

import sys

if sys.platform == "win32":
    from asyncio import new_event_loop
else:
    # Waking it once a step from the engine thread, which finds every cache cold, costs a third less.
    from uvloop import new_event_loop

__all__ = ["new_event_loop"]
