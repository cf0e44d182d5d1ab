"""From the bytes of tokens to text that is safe to send.

Three things can make the newest text unsafe: it ends inside a character, it may be the beginning of a stop
string, or it lies behind a stop string. :class:`TextStream` holds back exactly that, and nothing else; it
never looks at text that it has let go, so a token costs the same at any length.
"""

from __future__ import annotations

import codecs


class TextStream:
    """The text of one choice.

    Args:
        stops: Non-empty strings that end the choice; they are not part of its text.
        start: Offset of the first character, counted from the start of the prompt.
        keep_stop: Whether the stop string that was found stays in the text.
    """

    def __init__(self, stops: tuple[str, ...] = (), *, start: int = 0, keep_stop: bool = False) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._stops = stops
        self._keep_stop = keep_stop
        self._held = ""  # decoded, not yet let go
        self._released = start
        self.stopped = False

    @property
    def released(self) -> int:
        """Offset behind the last character that was let go."""
        return self._released

    @property
    def offset(self) -> int:
        """Offset of the next character to be decoded; where the next token begins."""
        return self._released + len(self._held)

    def push(self, piece: bytes) -> str:
        """Add a token's bytes; return the text that is now safe."""
        if self.stopped:
            return ""
        self._held += self._decode(piece)
        if not self._stops:
            return self._release(len(self._held))
        found = self._find_stop()
        if found is not None:
            self.stopped = True
            begin, end = found
            self._held = self._held[: end if self._keep_stop else begin]
            return self._release(len(self._held))
        return self._release(len(self._held) - self._possible_stop())

    def finish(self) -> str:
        """Return what was held back for a stop string that never came. A half character is dropped."""
        return self._release(len(self._held))

    def _release(self, count: int) -> str:
        text, self._held = self._held[:count], self._held[count:]
        self._released += count
        return text

    def _find_stop(self) -> tuple[int, int] | None:
        """Return (begin, end) of the stop string that is complete first; of several, the longest."""
        hits = ((self._held.find(stop), stop) for stop in self._stops)
        spans = [(begin, begin + len(stop)) for begin, stop in hits if begin >= 0]
        return min(spans, key=lambda span: (span[1], span[0]), default=None)

    def _possible_stop(self) -> int:
        """Return the length of the longest end of the held text that begins a stop string."""
        longest = min(len(self._held), max(map(len, self._stops)) - 1)
        for length in range(longest, 0, -1):
            tail = self._held[-length:]
            if any(stop.startswith(tail) for stop in self._stops):
                return length
        return 0
