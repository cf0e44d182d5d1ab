"""Which texts are cache, and which go first."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.kvcache.host_cache import HostPrefixCache
from engine.kvcache.prefix_match import PrefixMatch, common_prefix

LONG = list(range(1000))


def cache_of(capacity: int) -> HostPrefixCache:
    return HostPrefixCache(capacity, min_new_tokens=32, max_cost=4)


def test_the_text_with_the_longest_beginning_is_found() -> None:
    cache = cache_of(1000)
    first, _ = cache.add([1] * 100)
    second, _ = cache.add([1] * 40 + [2] * 60)
    assert cache.match([1] * 70) == PrefixMatch(70, entry_id=first)
    assert cache.match([1] * 40 + [2] * 5) == PrefixMatch(45, entry_id=second)
    assert cache.match([3, 1, 1]) == PrefixMatch(0)
    assert cache.match([]) == PrefixMatch(0)


def test_what_spares_nobody_much_is_not_kept() -> None:
    cache = cache_of(1000)
    assert cache.add([1] * 31) == (None, [])
    assert cache.add([1] * 32) == (0, [])
    assert cache.add([1] * 63) == (None, [])
    assert cache.add([1] * 64)[0] is not None


def test_a_text_replaces_those_that_it_begins_with() -> None:
    cache = cache_of(1000)
    turns = [cache.add(LONG[:length])[0] for length in (200, 240)]
    assert cache.add(LONG[:300]) == (2, [turns[1]])
    assert len(cache) == 1


def test_the_second_of_several_choices_behind_a_long_prompt_is_not_worth_its_memory() -> None:
    cache = cache_of(10_000)
    prompt = LONG[:800]
    number, _ = cache.add([*prompt, *[1] * 64])
    assert cache.add([*prompt, *[2] * 64]) == (None, [])
    assert cache.match([*prompt, 9]) == PrefixMatch(800, entry_id=number)
    assert cache.add([*prompt, *[2] * 400])[0] is not None, "a third of it is news"


def test_what_was_of_use_stays_longest() -> None:
    cache = cache_of(200)
    numbers = [cache.add([text] * 60)[0] for text in range(3)]
    assert numbers[0] is not None
    cache.touch(numbers[0])
    assert cache.add([7] * 60)[1] == [numbers[1]]
    assert cache.add([0] * 60) == (None, []), "it is there already, and of use once more"
    assert cache.add([8] * 100)[1] == [numbers[2], 3]


def test_a_text_for_which_there_is_no_room_drives_nobody_out() -> None:
    cache = cache_of(100)
    cache.add([1] * 100)
    assert cache.add([2] * 101) == (None, [])
    assert len(cache) == 1


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
    cache, held = cache_of(room), dict[int, list[int]]()
    for text in texts:
        number, dropped = cache.add(text)
        for old in dropped:
            del held[old]
        if number is not None:
            held[number] = text
        assert sum(map(len, held.values())) <= room
        assert len(cache) == len(held)
        length, _, found = cache.match(text)
        assert length == max((common_prefix(other, text) for other in held.values()), default=0)
        assert found is None or common_prefix(held[found], text) == length
    assert sorted(cache.clear()) == sorted(held)
    assert len(cache) == 0


def test_a_batch_invariant_match_finds_batch_invariant_entries_only() -> None:
    cache = cache_of(10_000)
    plain, _ = cache.add(LONG[:200])
    assert cache.match(LONG, batch_invariant=True) == PrefixMatch(0)
    number, dropped = cache.add(LONG[:100], batch_invariant=True)
    assert cache.match(LONG) == PrefixMatch(200, entry_id=plain)
    assert cache.match(LONG, batch_invariant=True) == PrefixMatch(100, entry_id=number)
    assert dropped == []


def test_a_text_replaces_no_repeatable_one_unless_it_is_repeatable_too() -> None:
    cache = cache_of(10_000)
    number, _ = cache.add(LONG[:100], batch_invariant=True)
    assert cache.add(LONG[:300])[1] == []
    assert cache.match(LONG, batch_invariant=True) == PrefixMatch(100, entry_id=number)
    assert cache.add(LONG[:400], batch_invariant=True)[1] == [number, 1]
