"""Whose turn it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from engine.core.queue import FairQueue
from tests.core.steps import prompt

if TYPE_CHECKING:
    from engine.core.sequence import Prompt


def of(client: str, n: int = 1) -> Prompt:
    """Return a prompt of a client."""
    made = prompt(3, n)
    made.client = client
    return made


def clients(queue: FairQueue) -> str:
    """Take out everybody; write their clients in order."""
    return "".join(str(queue.pop().prompt.client) for _ in range(len(queue)))


def test_one_client_is_served_in_the_order_it_came() -> None:
    queue = FairQueue()
    prompts = [of("a", n) for n in (1, 3, 2)]
    for each in prompts:
        queue.add(each)
    expected = [sequence for each in prompts for sequence in each.sequences]
    assert set(queue) == set(expected)
    assert [queue.pop() for _ in range(6)] == expected
    assert len(queue) == 0


def test_a_client_with_five_hundred_requests_does_not_starve_another() -> None:
    queue = FairQueue()
    for _ in range(500):
        queue.add(of("a"))
    assert [queue.pop().prompt.client for _ in range(100)] == ["a"] * 100
    for _ in range(3):
        queue.add(of("b"))
    assert clients(queue)[:8] == "abababaa"


def test_choices_count_like_requests() -> None:
    queue = FairQueue()
    queue.add(of("a", 4))
    queue.add(of("b"))
    queue.add(of("b"))
    assert clients(queue) == "ababaa"


def test_who_comes_back_has_no_credit_for_having_been_away() -> None:
    queue = FairQueue()
    queue.add(of("b"))
    queue.pop()
    for _ in range(10):
        queue.add(of("a"))
    for _ in range(5):
        queue.pop()
    for _ in range(6):
        queue.add(of("b"))
    assert clients(queue) == "ababababab" + "b"


def test_who_is_put_back_comes_first() -> None:
    queue = FairQueue()
    for _ in range(3):
        queue.add(of("a"))
    first = queue.pop()
    queue.pop()
    queue.add(of("b"))
    queue.put_back(first)
    assert queue.pop() is first
    assert len(queue) == 2


def test_removing_leaves_the_others_in_order() -> None:
    queue = FairQueue()
    prompts = [of("a", 2), of("b", 3), of("a", 1)]
    for each in prompts:
        queue.add(each)
    queue.remove(lambda sequence: sequence.prompt is prompts[0])
    assert len(queue) == 4
    assert clients(queue) == "babb"


def test_who_has_cancelled_five_hundred_requests_does_not_wait_for_their_turns() -> None:
    queue = FairQueue()
    cancelled = [of("a") for _ in range(500)]
    for each in cancelled:
        queue.add(each)
    queue.remove(lambda sequence: sequence.prompt in cancelled)
    queue.add(of("a"))
    for _ in range(3):
        queue.add(of("b"))
    assert clients(queue) == "abbb"


def test_who_asks_for_one_after_the_other_does_not_push_another_aside() -> None:
    queue = FairQueue()
    for _ in range(4):
        queue.add(of("a"))
    served = ""
    for _ in range(6):
        queue.add(of("b"))
        served += str(queue.pop().prompt.client)
    assert served.count("a") == 3


@given(st.lists(st.one_of(st.none(), st.sampled_from("abcdefgh")), max_size=300))
def test_nobody_waits_longer_than_one_turn_of_each_client(events: list[str | None]) -> None:
    """Between two sequences of a client that waits all the while, every other one has at most two turns."""
    queue = FairQueue()
    waiting: list[str] = []
    for event in events:
        if event is not None:
            queue.add(of(event))
            waiting.append(event)
        elif waiting:
            served = str(queue.pop().prompt.client)
            waiting.remove(served)
    order = clients(queue)
    for client in set(waiting):
        gaps = order.split(client)[:-1]
        for gap in gaps[1:]:
            assert all(gap.count(other) <= 2 for other in "abcdefgh")


def test_newcomers_do_not_starve_who_waits() -> None:
    queue = FairQueue()
    for _ in range(3):
        queue.add(of("a"))
    served = []
    for number in range(8):
        queue.add(of(f"client {number}"))
        served.append(queue.pop().prompt.client)
    assert served.count("a") == 3


def test_only_some_clients_may_be_asked_for() -> None:
    queue = FairQueue()
    for client in "aab":
        queue.add(of(client))
    (early,) = of("c").sequences
    early.turn = 0
    queue.put_back(early)
    assert queue.pop_for(lambda client: client == "d") is None
    assert queue.pop_for(lambda client: client in {"b", "c"}) is early
    found = queue.pop_for(lambda client: client in {"b", "c"})
    assert found is not None
    assert found.prompt.client == "b"
    assert (len(queue), clients(queue)) == (2, "aa")
