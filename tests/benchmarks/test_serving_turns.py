"""Percentiles, and what many answers come down to, without a server."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from unittest.mock import Mock

import pytest

from benchmarks.client import HttpClient
from benchmarks.servers import HOST
from benchmarks.serving.measure import Plan, Side, Sides, closed_loops
from benchmarks.serving.results import LOGPROBS
from benchmarks.serving.turn import UNFINISHED, Answer, Turn, percentiles

if TYPE_CHECKING:
    from benchmarks.servers import Door


def test_percentiles_interpolate_between_the_sorted_values() -> None:
    assert percentiles([0.04, 0.01, 0.03, 0.02]) == _approx(25.0, 38.5, 39.7)
    assert percentiles([]) is None


def test_a_turn_counts_all_tokens_until_the_last() -> None:
    answers = [
        _answer(0.0, [1.0, 2.0, 3.0, 4.0], 4),
        _answer(1.0, [9.0, 11.0], 4),  # two tokens a piece
        _answer(2.0, [], 0, "refused"),
    ]
    turn = Turn.of(answers, 0.5)
    assert turn.tokens_per_s == pytest.approx(8 / 10.5)
    assert turn.tokens_per_request == 4.0
    assert (turn.requests, turn.errors, turn.first_error) == (2, 1, "refused")
    assert turn.first_token == _approx(4500.0, 7650.0, 7930.0)
    assert turn.between_tokens == _approx(1000.0, 1850.0, 1970.0)


def test_a_turn_leaves_out_what_came_before_tokens_counted() -> None:
    answers = [
        _answer(0.0, [1.0, 2.0, 3.0, 5.0], 4),
        _answer(1.0, [2.0, 6.0], 4),  # two tokens a piece
        _answer(4.0, [5.0, 6.0], 2, UNFINISHED),
    ]
    turn = Turn.of(answers, 2.5, cut_at=6.5)
    assert turn.tokens_per_s == pytest.approx((2 + 2 + 2) / 4)
    assert turn.first_token == _approx(1000.0, 1000.0, 1000.0)
    assert turn.between_tokens == _approx(1500.0, 1950.0, 1990.0)


def test_nothing_at_all_is_a_turn_too() -> None:
    turn = Turn.of([], 0.0)
    assert (turn.tokens_per_s, turn.first_token, turn.between_tokens) == (0.0, None, None)


def test_tokens_are_those_of_the_usage_else_of_the_length_else_of_the_pieces() -> None:
    client = HttpClient(HOST, 0)
    text, end = _event("a", None), _event("", "length")
    usage = json.dumps({"choices": [], "usage": {"completion_tokens": 9}}).encode()

    def tokens(*payloads: bytes) -> int:
        answer = Answer(0.0, 5, [(1.0, payload) for payload in payloads])
        answer.read(client)
        return answer.tokens

    assert tokens(text, text, end, usage) == 9
    assert tokens(text, text, end) == 5
    assert tokens(text, text, _event("", "stop")) == 2


def test_what_was_cut_off_counts_as_far_as_it_came_and_is_no_error() -> None:
    answers = [
        _answer(0.0, [1.0, 2.0], 2),
        _answer(0.0, [5.0], 1, UNFINISHED),
        _answer(0.0, [], 0, UNFINISHED),
    ]
    turn = Turn.of(answers, 0.0, cut_at=60.0)
    assert turn.tokens_per_s == pytest.approx(3 / 60)
    assert (turn.requests, turn.cut, turn.errors, turn.first_error) == (1, 2, 0, None)


def test_only_what_has_a_goal_has_all_rounds_and_sides() -> None:
    ours, peer, scored = _side("grpc"), _side("http"), _side("http")
    sides: Sides = {None: [ours, peer], LOGPROBS: [ours, scored]}
    loops = list(closed_loops(Plan(clients=[1, 8, 32], seconds=5.0, rounds=3), sides))
    assert [(work.clients, work.logprobs) for work, _ in loops] == [(8, None), (8, 5), (1, None), (32, None)]
    assert [turns for _, turns in loops] == [
        [ours, peer, peer, ours, ours, peer],  # every second round backwards
        [ours, scored, scored, ours, ours, scored],
        [peer],
        [peer],
    ]
    assert {work.seconds for work, _ in loops} == {5.0}


def _answer(began: float, times: list[float], tokens: int, error: str | None = None) -> Answer:
    return Answer(began, times=times, tokens=tokens, error=error)


def _side(door: Door) -> Side:
    return Side("a server", door, Mock())


def _approx(p50: float, p95: float, p99: float) -> object:
    return pytest.approx({"p50": p50, "p95": p95, "p99": p99})


def _event(text: str, finish_reason: str | None) -> bytes:
    return json.dumps({"choices": [{"text": text, "finish_reason": finish_reason}]}).encode()
