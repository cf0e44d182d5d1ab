"""The tree of cached texts, beside a cache in which every cell has a name."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from engine.kvcache.prefix_match import PrefixMatch, common_prefix
from engine.kvcache.prefix_tree import PrefixTree

N_SLOTS = 5
Tokens = st.lists(st.integers(0, 2), max_size=6)
Slots = st.integers(0, N_SLOTS - 1)


class AnyTexts(RuleBasedStateMachine):
    """Slots share, grow and are cut in any order; a position of a slot is a cell, and sharing copies it."""

    def __init__(self) -> None:
        super().__init__()
        self.tree = PrefixTree()
        self.cells: list[list[tuple[int, int]]] = [[] for _ in range(N_SLOTS)]  # (cell, token)
        self.names = itertools.count()

    def tokens(self, slot: int) -> list[int]:
        return [token for _, token in self.cells[slot]]

    @rule(slot=Slots, tokens=Tokens.filter(bool))
    def extend(self, slot: int, tokens: list[int]) -> None:
        self.tree.extend(slot, tokens)
        self.cells[slot] += [(next(self.names), token) for token in tokens]

    @rule(slot=Slots, data=st.data())
    def cut(self, slot: int, data: st.DataObject) -> None:
        length = data.draw(st.integers(0, len(self.cells[slot])))
        self.tree.cut(slot, length)
        del self.cells[slot][length:]

    @precondition(lambda self: any(self.cells) and not all(self.cells))
    @rule(data=st.data())
    def share(self, data: st.DataObject) -> None:
        source = data.draw(st.sampled_from([slot for slot in range(N_SLOTS) if self.cells[slot]]))
        target = data.draw(st.sampled_from([slot for slot in range(N_SLOTS) if not self.cells[slot]]))
        length = data.draw(st.integers(1, len(self.cells[source])))
        self.tree.share(source, target, length)
        self.cells[target] = self.cells[source][:length]

    @rule(tokens=Tokens)
    def match(self, tokens: list[int]) -> None:
        found = self.tree.match(tokens)
        assert found.length == max(common_prefix(self.tokens(slot), tokens) for slot in range(N_SLOTS))
        if found.length:
            assert found.slot is not None
            assert self.tokens(found.slot)[: found.length] == tokens[: found.length]
        else:
            assert found == PrefixMatch(0, None)

    @rule(tokens=Tokens, among=st.sets(Slots))
    def match_some(self, tokens: list[int], among: set[int]) -> None:
        found = self.tree.match(tokens, among)
        assert found.length == max((common_prefix(self.tokens(slot), tokens) for slot in among), default=0)
        assert (found.slot in among) if found.length else (found == PrefixMatch(0, None))

    @invariant()
    def lengths_and_cells_are_those_of_the_cache(self) -> None:
        assert [self.tree.length(slot) for slot in range(N_SLOTS)] == list(map(len, self.cells))
        assert self.tree.n_cells == len({cell for row in self.cells for cell, _ in row})

    @invariant()
    def runs_name_the_same_cells_alike(self) -> None:
        pairs = {
            (place, cell)
            for slot, row in enumerate(self.cells)
            for place, (cell, _) in zip(self.places(slot), row, strict=True)
        }
        assert len({place for place, _ in pairs}) == len({cell for _, cell in pairs}) == len(pairs)

    def places(self, slot: int) -> list[tuple[int, int]]:
        return [(run, offset) for run, tokens in self.tree.runs(slot) for offset in range(tokens)]


TestAnyTexts = AnyTexts.TestCase
TestAnyTexts.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)


@given(run=Tokens, tokens=Tokens, start=st.integers(0, 6))
def test_common_prefix_counts_equal_tokens(run: list[int], tokens: list[int], start: int) -> None:
    pairs = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(run, tokens[start:], strict=False))
    assert common_prefix(run, tokens, min(start, len(tokens))) == len(list(pairs))


def test_two_that_computed_the_same_hold_it_twice() -> None:
    tree = PrefixTree()
    tree.extend(0, [1, 2, 3])
    tree.extend(1, [1, 2, 4])
    assert tree.n_cells == 6
    assert tree.match([1, 2, 4, 5]) == PrefixMatch(3, 1)


@pytest.mark.parametrize("length", [1, 2, 3])
def test_what_is_shared_outlives_whoever_computed_it(length: int) -> None:
    tree = PrefixTree()
    tree.extend(0, [1, 2, 3])
    tree.share(0, 1, length)
    tree.cut(0, 0)
    assert (tree.n_cells, tree.length(1), tree.match([1, 2, 3])) == (length, length, PrefixMatch(length, 1))
