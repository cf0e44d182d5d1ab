"""From the bytes of tokens to text that is safe to send.

Three things can make the newest text unsafe: it ends inside a character, it may be the beginning of a stop
string, or it lies behind a stop string. :class:`TextStream` holds back exactly that, and nothing else; it
looks at every character once, so a token costs the same at any length.
"""

from __future__ import annotations

import codecs

from engine.core.stops import START, matcher_of


def whole_characters(raw: bytes) -> tuple[str, bytes]:
    """Decode UTF-8, wrong bytes as U+FFFD; return the text, and the bytes of a last, unfinished character."""
    text, length = codecs.utf_8_decode(raw, "replace")
    return text, raw[length:]


class TextStream:
    """The text of one choice.

    Args:
        stops: Non-empty strings that end the choice; they are not part of its text.
        start: Offset of the first character, counted from the start of the prompt.
        keep_stop: Whether the stop string that was found stays in the text.
        half: The first bytes of its first character, where a prompt ends inside one.

    Raises:
        ValueError: A stop string is empty.
    """

    __slots__ = ("_half", "_held", "_keep_stop", "_known", "_matcher", "_released", "_state", "stopped")

    def __init__(
        self, stops: tuple[str, ...] = (), *, start: int = 0, keep_stop: bool = False, half: bytes = b""
    ) -> None:
        self._matcher = matcher_of(stops) if stops else None
        self._state = START
        self._keep_stop = keep_stop
        self._half = half  # the first bytes of a character
        self._held = ""  # decoded, not yet let go
        self._known = 0  # characters of it that the reader has all the same
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

    def push(self, piece: bytes, *, may_stop: bool = True) -> str:
        """Add a token's bytes; return the text that is now safe.

        Args:
            piece: The bytes.
            may_stop: Whether a stop string that ends in them counts.
        """
        if self.stopped:
            return ""
        text = self._decode(piece)
        if self._matcher is None:
            self._released += len(text)
            return text
        if not text:
            return ""
        self._state, length = self._matcher.read(self._state, text)
        while not may_stop and length < len(text):
            self._state, more = self._matcher.read(self._state, text[length:])
            length += more
        self._held += text[:length]
        matched = self._matcher.matched(self._state) if may_stop else 0
        if not matched:
            return self._release(len(self._held) - self._matcher.pending(self._state))
        self.stopped = True
        if not self._keep_stop:
            self._held = self._held[:-matched]
        return self._release(len(self._held))

    def skip(self) -> None:
        """Note that the reader has the text so far, also what is held back: it is not returned again."""
        self._known = len(self._held)

    def finish(self) -> str:
        """Return what was held back for a stop string that never came. A half character is dropped."""
        self._state = START
        return self._release(len(self._held))

    def _decode(self, piece: bytes) -> str:
        # What codecs' incremental decoder does, without its cost at every token.
        text, self._half = whole_characters(self._half + piece if self._half else piece)
        return text

    def _release(self, count: int) -> str:
        text, self._held = self._held[:count], self._held[count:]
        self._released += count
        if self._known:
            text, self._known = text[self._known :], max(self._known - count, 0)
        return text
