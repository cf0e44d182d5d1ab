"""How tokens and their log-probabilities are written."""

from __future__ import annotations

import math

import pytest

from engine.core.delta import TokenLogprob
from engine.service.logprobs import logprobs_of, top_by_id
from engine.service.token_texts import TokenTexts
from tests.core.fake_backend import END, FakeBackend

PIECES = {
    1: b"a",
    2: b"\xe5\xa4",
    3: " 天".encode(),
    4: b"\xff",
    5: b"a",
    6: b"bytes:\\xff",
    7: b"",
    8: b"a\xf0\x9f",
}
CONTROL = {END: b"<end>", 7: b""}


class Vocabulary(FakeBackend):
    """Tokens of every kind: text, parts of characters, two of one name, control tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[int] = []

    def piece(self, token: int) -> bytes:
        self.asked.append(token)
        return PIECES.get(token, b"")

    def special_text(self, token: int) -> bytes:
        return CONTROL[token]


def names() -> TokenTexts:
    return TokenTexts(Vocabulary())


@pytest.mark.parametrize(
    ("token", "name"),
    [
        pytest.param(1, "a", id="text"),
        pytest.param(3, " 天", id="text with a space"),
        pytest.param(2, r"bytes:\xe5\xa4", id="the beginning of a character"),
        pytest.param(4, r"bytes:\xff", id="no text at all"),
        pytest.param(8, r"bytes:\x61\xf0\x9f", id="a character and the beginning of one"),
        pytest.param(END, "<end>", id="a control token"),
        pytest.param(7, "", id="nothing"),
    ],
)
def test_a_token_alone(token: int, name: str) -> None:
    assert names()[token] == name


def test_raw_bytes_are_those_of_the_token_or_of_its_name() -> None:
    assert [names().raw(token) for token in (2, END)] == [b"\xe5\xa4", b"<end>"]


def test_a_name_is_made_once() -> None:
    vocabulary = Vocabulary()
    known = TokenTexts(vocabulary)
    assert [known[2], known[2], known[7], known[7]] == [r"bytes:\xe5\xa4"] * 2 + [""] * 2
    assert vocabulary.asked == [2, 7]


def test_the_arrays_are_parallel() -> None:
    scores = [
        TokenLogprob(3, 10, -0.5, ((3, -0.5), (1, -1.5))),
        TokenLogprob(2, 12, -2.5, ((1, -0.25), (3, -2.0))),
        TokenLogprob(END, 12, -0.125, ((END, -0.125), (4, -3.0))),
    ]
    written = logprobs_of(scores, 2, names())
    assert written.tokens == [" 天", r"bytes:\xe5\xa4", "<end>"]
    assert written.token_logprobs == [-0.5, -2.5, -0.125]
    assert written.text_offset == [10, 12, 12]
    assert written.token_ids == [3, 2, END]
    assert written.token_bytes == [" 天".encode(), b"\xe5\xa4", b"<end>"]
    assert written.top_logprobs == [
        {" 天": -0.5, "a": -1.5},
        {"a": -0.25, " 天": -2.0, r"bytes:\xe5\xa4": -2.5},
        {"<end>": -0.125, r"bytes:\xff": -3.0},
    ]


def test_alternatives_come_best_first_and_a_drawn_token_that_is_none_of_them_last() -> None:
    written = logprobs_of([TokenLogprob(END, 0, -9.0, ((3, -0.5), (1, -1.5)))], 2, names())
    assert written.top_logprobs is not None
    assert [list(top or {}) for top in written.top_logprobs] == [[" 天", "a", "<end>"]]


@pytest.mark.parametrize(
    "score",
    [
        pytest.param(TokenLogprob(5, 0, -3.0, ((1, -0.5), (3, -1.0))), id="the better one is an alternative"),
        pytest.param(TokenLogprob(5, 0, -0.7, ((1, -0.5), (5, -0.7))), id="both are alternatives"),
        pytest.param(TokenLogprob(1, 0, -0.5, ((1, -0.5), (5, -0.7))), id="the drawn one is the better one"),
        pytest.param(TokenLogprob(4, 0, -0.9, ((6, -0.1), (1, -0.2))), id="text that looks like bytes"),
        pytest.param(TokenLogprob(2, 0, -0.1 - 0.2, ((1, -0.25),)), id="a number with all its digits"),
    ],
)
def test_the_drawn_token_s_value_is_the_very_number_among_the_alternatives(score: TokenLogprob) -> None:
    """Also where another token has the same name: the contract's mapping has room for one of them."""
    written = logprobs_of([score], 2, names())
    assert written.top_logprobs is not None
    top = written.top_logprobs[0]
    assert top is not None
    assert top[written.tokens[0]] == written.token_logprobs[0] == score.logprob


def test_of_two_alternatives_with_one_name_the_better_is_told() -> None:
    written = logprobs_of([TokenLogprob(3, 0, -0.1, ((3, -0.1), (1, -1.0), (5, -2.0)))], 3, names())
    assert written.top_logprobs == [{" 天": -0.1, "a": -1.0}]


@pytest.mark.parametrize(
    ("score", "top"),
    [
        pytest.param(
            TokenLogprob(3, 0, -0.1, ((3, -0.1), (1, -1.0))), {3: -0.1, 1: -1.0}, id="drawn the best"
        ),
        pytest.param(TokenLogprob(END, 0, -9.0, ((3, -0.1),)), {3: -0.1, END: -9.0}, id="drawn none of them"),
        pytest.param(
            TokenLogprob(5, 0, -3.0, ((1, -0.5),)), {1: -0.5, 5: -3.0}, id="drawn has another's name"
        ),
        pytest.param(
            TokenLogprob(3, 0, -0.1, ((1, -1.0), (5, -2.0))), {1: -1.0, 5: -2.0, 3: -0.1}, id="twins"
        ),
        pytest.param(TokenLogprob(1, 0, -math.inf, ((3, 0.0),)), {3: 0.0, 1: -9999.0}, id="drawn ruled out"),
        pytest.param(
            TokenLogprob(3, 0, 0.0, ((3, 0.0), (1, -math.inf))), {3: 0.0, 1: -9999.0}, id="ruled out"
        ),
        pytest.param(TokenLogprob(3, 0, -0.1, ()), {}, id="none wanted"),
        pytest.param(TokenLogprob(3, 0, None, ()), {}, id="nothing before"),
    ],
)
def test_by_ids_no_alternative_hides_another(score: TokenLogprob, top: dict[int, float]) -> None:
    assert [*top_by_id(score).items()] == [*top.items()], (
        "best first, the drawn token last if it is none of them"
    )


def test_a_probability_of_zero_is_written_as_a_number() -> None:
    written = logprobs_of([TokenLogprob(1, 0, -math.inf, ((3, 0.0), (1, -math.inf)))], 2, names())
    assert written.token_logprobs == [-9999.0]
    assert written.top_logprobs == [{" 天": 0.0, "a": -9999.0}]


def test_no_alternatives_leave_no_mapping() -> None:
    written = logprobs_of([TokenLogprob(1, 4, -0.5, ())], 0, names())
    assert written.top_logprobs is None
    assert (written.tokens, written.token_logprobs, written.text_offset) == (["a"], [-0.5], [4])


def test_a_chunk_without_tokens_has_empty_arrays() -> None:
    written = logprobs_of([], 2, names())
    assert (written.tokens, written.token_logprobs, written.top_logprobs, written.text_offset) == ([],) * 4


def test_json_has_the_four_arrays_of_the_contract() -> None:
    written = logprobs_of([TokenLogprob(2, 4, -0.5, ())], 0, names())
    assert written.model_dump(mode="json") == {
        "tokens": [r"bytes:\xe5\xa4"],
        "token_logprobs": [-0.5],
        "top_logprobs": None,
        "text_offset": [4],
    }
