"""Percentiles, and what many answers come down to, without a server."""

from __future__ import annotations

import json

import pytest

from benchmarks.client import HttpClient
from benchmarks.servers import HOST
from benchmarks.serving.load import UNFINISHED, Answer, Reply
from benchmarks.serving.turn import Percentiles, Turn


def test_percentiles_interpolate_between_the_sorted_values() -> None:
    found = Percentiles.of([0.04, 0.01, 0.03, 0.02])
    assert found == Percentiles(25.0, 38.5, 39.7)
    assert Percentiles.of([]) is None


def test_a_turn_counts_all_tokens_until_the_last() -> None:
    answers = [
        Answer(0.0, [1.0, 2.0, 3.0, 4.0], 4),
        Answer(1.0, [9.0, 11.0], 4),  # two tokens a piece
        Answer(2.0, [], 0, "refused"),
    ]
    turn = Turn.of(answers, 0.5)
    assert turn.tokens_per_s == pytest.approx(8 / 10.5)
    assert turn.tokens_per_request == 4.0
    assert (turn.requests, turn.errors, turn.first_error) == (2, 1, "refused")
    assert turn.first_token == Percentiles(4500.0, 7650.0, 7930.0)


def test_a_turn_leaves_out_what_came_before_tokens_counted() -> None:
    answers = [
        Answer(0.0, [1.0, 2.0, 3.0, 5.0], 4),
        Answer(1.0, [2.0, 6.0], 4),  # two tokens a piece
        Answer(4.0, [5.0, 6.0], 2, UNFINISHED),
    ]
    turn = Turn.of(answers, 2.5, cut_at=6.5)
    assert turn.tokens_per_s == pytest.approx((2 + 2 + 2) / 4)
    assert turn.first_token == Percentiles(1000.0, 1000.0, 1000.0)
    assert turn.between_tokens == Percentiles(1500.0, 1950.0, 1990.0)


def test_what_was_summed_up() -> None:
    answers = [
        Answer(0.0, [1.0, 2.0, 3.0, 4.0], 4),
        Answer(1.0, [9.0, 11.0], 4),  # two tokens a piece
        Answer(2.0, [], 0, "refused"),
    ]
    turn = Turn.of(answers, 0.5)
    assert turn.between_tokens == Percentiles(1000.0, 1850.0, 1970.0)


def test_nothing_at_all_is_a_turn_too() -> None:
    turn = Turn.of([], 0.0)
    assert (turn.tokens_per_s, turn.first_token, turn.between_tokens) == (0.0, None, None)


def test_tokens_are_those_of_the_usage_else_of_the_length_else_of_the_pieces() -> None:
    client = HttpClient(HOST, 0)
    text, end = _event("a", None), _event("", "length")
    usage = json.dumps({"choices": [], "usage": {"completion_tokens": 9}}).encode()

    def tokens(*payloads: bytes) -> int:
        return Reply(0.0, 5, [(1.0, payload) for payload in payloads]).read(client).tokens

    assert tokens(text, text, end, usage) == 9
    assert tokens(text, text, end) == 5
    assert tokens(text, text, _event("", "stop")) == 2


def test_what_was_cut_off_counts_as_far_as_it_came_and_is_no_error() -> None:
    answers = [Answer(0.0, [1.0, 2.0], 2), Answer(0.0, [5.0], 1, UNFINISHED), Answer(0.0, [], 0, UNFINISHED)]
    turn = Turn.of(answers, 0.0, cut_at=60.0)
    assert turn.tokens_per_s == pytest.approx(3 / 60)
    assert (turn.requests, turn.cut, turn.errors, turn.first_error) == (1, 2, 0, None)


def test_percentiles_of_several_rounds_are_the_median_of_each() -> None:
    rounds = [Percentiles(1.0, 9.0, 9.0), None, Percentiles(2.0, 5.0, 6.0), Percentiles(3.0, 4.0, 7.0)]
    assert Percentiles.median(rounds) == Percentiles(2.0, 5.0, 7.0)
    assert Percentiles.median([None]) is None


def _event(text: str, finish_reason: str | None) -> bytes:
    return json.dumps({"choices": [{"text": text, "finish_reason": finish_reason}]}).encode()
