"""Which texts are kept, and which go first."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.kvcache.host_cache import HostPrefixCache
from engine.kvcache.prefix_match import PrefixMatch, common_prefix

LONG = list(range(1000))


def test_the_text_with_the_longest_beginning_is_found() -> None:
    kept = HostPrefixCache(1000)
    first, _ = kept.add([1] * 100)
    second, _ = kept.add([1] * 40 + [2] * 60)
    assert kept.match([1] * 70) == PrefixMatch(70, entry_id=first)
    assert kept.match([1] * 40 + [2] * 5) == PrefixMatch(45, entry_id=second)
    assert kept.match([3, 1, 1]) == PrefixMatch(0)
    assert kept.match([]) == PrefixMatch(0)


def test_what_spares_nobody_much_is_not_kept() -> None:
    kept = HostPrefixCache(1000)
    assert kept.add([1] * 31) == (None, [])
    assert kept.add([1] * 32) == (0, [])
    assert kept.add([1] * 63) == (None, [])
    assert kept.add([1] * 64)[0] is not None


def test_a_text_replaces_those_that_it_begins_with() -> None:
    kept = HostPrefixCache(1000)
    turns = [kept.add(LONG[:length])[0] for length in (200, 240)]
    assert kept.add(LONG[:300]) == (2, [turns[1]])
    assert len(kept) == 1


def test_the_second_of_several_choices_behind_a_long_prompt_is_not_worth_its_memory() -> None:
    kept = HostPrefixCache(10_000)
    prompt = LONG[:800]
    number, _ = kept.add([*prompt, *[1] * 64])
    assert kept.add([*prompt, *[2] * 64]) == (None, [])
    assert kept.match([*prompt, 9]) == PrefixMatch(800, entry_id=number)
    assert kept.add([*prompt, *[2] * 400])[0] is not None, "a third of it is news"


def test_what_was_of_use_stays_longest() -> None:
    kept = HostPrefixCache(200)
    numbers = [kept.add([text] * 60)[0] for text in range(3)]
    assert numbers[0] is not None
    kept.touch(numbers[0])
    assert kept.add([7] * 60)[1] == [numbers[1]]
    assert kept.add([0] * 60) == (None, []), "it is there already, and of use once more"
    assert kept.add([8] * 100)[1] == [numbers[2], 3]


def test_a_text_for_which_there_is_no_room_drives_nobody_out() -> None:
    kept = HostPrefixCache(100)
    kept.add([1] * 100)
    assert kept.add([2] * 101) == (None, [])
    assert len(kept) == 1


Texts = st.lists(
    st.builds(
        lambda token, length, tail: [token] * length + tail,
        st.integers(0, 2),
        st.integers(0, 90),
        st.lists(st.integers(0, 2), max_size=40),
    ),
    max_size=25,
)


@given(Texts, st.integers(1, 300))
def test_the_books_are_those_of_a_plain_list(texts: list[list[int]], room: int) -> None:
    kept, held = HostPrefixCache(room), dict[int, list[int]]()
    for text in texts:
        number, dropped = kept.add(text)
        for old in dropped:
            del held[old]
        if number is not None:
            held[number] = text
        assert sum(map(len, held.values())) <= room
        assert len(kept) == len(held)
        length, _, found = kept.match(text)
        assert length == max((common_prefix(other, text) for other in held.values()), default=0)
        assert found is None or common_prefix(held[found], text) == length
    assert sorted(kept.clear()) == sorted(held)
    assert len(kept) == 0


def test_a_batch_invariant_match_finds_batch_invariant_entries_only() -> None:
    kept = HostPrefixCache(10_000)
    plain, _ = kept.add(LONG[:200])
    assert kept.match(LONG, batch_invariant=True) == PrefixMatch(0)
    number, dropped = kept.add(LONG[:100], batch_invariant=True)
    assert kept.match(LONG) == PrefixMatch(200, entry_id=plain)
    assert kept.match(LONG, batch_invariant=True) == PrefixMatch(100, entry_id=number)
    assert dropped == []


def test_a_text_replaces_no_repeatable_one_unless_it_is_repeatable_too() -> None:
    kept = HostPrefixCache(10_000)
    number, _ = kept.add(LONG[:100], batch_invariant=True)
    assert kept.add(LONG[:300])[1] == []
    assert kept.match(LONG, batch_invariant=True) == PrefixMatch(100, entry_id=number)
    assert kept.add(LONG[:400], batch_invariant=True)[1] == [number, 1]
