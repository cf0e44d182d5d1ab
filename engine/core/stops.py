"""Stop strings, all of them found at once in text that comes in pieces.

The automaton is that of Aho and Corasick, "Efficient string matching: an aid to bibliographic search",
Communications of the ACM 18(6), 1975. It reads every character once, however many stop strings there are
and wherever the text is cut; all that it has to know of the text before is one number.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

START: Final = 0
"""The state before any text."""


class StopMatcher:
    """The automaton of some stop strings.

    A state is a node of their trie: the longest end of the text that begins a stop string. The matcher does
    not change; who reads a text keeps its state, so that any number of texts can share a matcher. It is built
    in time linear in the length of the stop strings, and reads in time linear in the length of the text.

    Args:
        stops: Non-empty strings, in any order; equal ones count once.

    Raises:
        ValueError: A stop string is empty.
    """

    __slots__ = ("_children", "_depths", "_failures", "_matches")

    def __init__(self, stops: tuple[str, ...]) -> None:
        if not all(stops):
            raise ValueError("a stop string must not be empty")
        self._children: list[dict[str, int]] = [{}]
        self._depths = [0]
        self._matches = [0]
        for stop in stops:
            self._insert(stop)
        self._failures = [START] * len(self._children)
        self._link()

    def read(self, state: int, text: str) -> tuple[int, int]:
        """Read on from a state, up to the first character that completes a stop string.

        Args:
            state: What was reached with the text before; :data:`START` at the beginning.
            text: The characters that follow.

        Returns:
            The state that is reached, and how many characters of ``text`` were read: all of them, unless
            the state has :meth:`matched`.
        """
        children, failures, matches = self._children, self._failures, self._matches
        for count, character in enumerate(text, start=1):
            while state != START and character not in children[state]:
                state = failures[state]
            state = children[state].get(character, START)
            if matches[state]:
                return state, count
        return state, len(text)

    def pending(self, state: int) -> int:
        """Return the length of the longest end of the text that begins a stop string."""
        return self._depths[state]

    def matched(self, state: int) -> int:
        """Return the length of the longest stop string that the text ends with, or 0."""
        return self._matches[state]

    def _insert(self, stop: str) -> None:
        state = START
        for depth, character in enumerate(stop, start=1):
            child = self._children[state].setdefault(character, len(self._children))
            if child == len(self._children):
                self._children.append({})
                self._depths.append(depth)
                self._matches.append(0)
            state = child
        self._matches[state] = len(stop)

    def _link(self) -> None:
        """Find every state's failure: the longest shorter end of its text that begins a stop string."""
        states = list(self._children[START].values())
        for state in states:  # grows: breadth first, for a failure has to be known before what is deeper
            for character, child in self._children[state].items():
                failure, _ = self.read(self._failures[state], character)
                self._failures[child] = failure
                self._matches[child] = self._matches[child] or self._matches[failure]
                states.append(child)


@lru_cache(maxsize=16)  # few, for the longest stop strings that are allowed take a megabyte
def matcher_of(stops: tuple[str, ...]) -> StopMatcher:
    """Return the matcher of some stop strings; all the choices of a request are given the same one.

    Raises:
        ValueError: A stop string is empty.
    """
    return StopMatcher(stops)
