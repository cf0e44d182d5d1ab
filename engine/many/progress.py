"""How far a long piece of work is, for whoever looks on."""

from __future__ import annotations

import sys
import time
from collections.abc import Sized
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType


class Bar:
    """A progress bar of tqdm's, as a context: in a terminal a line on standard error, in a notebook a widget.

    Args:
        items: What is worked on; how many they are is shown if it is known.
        unit: What one item is.
        shown: Whether there is a bar; None: if a terminal or a notebook looks on.
    """

    def __init__(self, items: object, unit: str, *, shown: bool | None) -> None:
        self._total = len(items) if isinstance(items, Sized) else None
        self._unit = unit
        self._is_shown = _somebody_looks_on() if shown is None else shown
        self._bar: Any = None
        self._began = 0.0

    def __enter__(self) -> Self:
        if self._is_shown:
            from tqdm.auto import tqdm

            self._bar = tqdm(total=self._total, unit=f" {self._unit}s", dynamic_ncols=True)
            self._began = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def show(self, done: float, n_tokens: int) -> None:
        """Show how many items are done, and the tokens a second."""
        if self._bar is None:
            return
        rounded = round(done, 2)
        self._bar.n = int(rounded) if rounded == int(rounded) else rounded
        rate = n_tokens / max(time.monotonic() - self._began, 1e-9)
        self._bar.set_postfix_str(f"{rate:,.0f} tokens/s", refresh=False)
        self._bar.update(0)


def _somebody_looks_on() -> bool:
    is_terminal: Callable[[], bool] | None = getattr(sys.stderr, "isatty", None)
    return "ipykernel.zmqshell" in sys.modules or (is_terminal is not None and is_terminal())
