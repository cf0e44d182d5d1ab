"""Requests of every kind for hypothesis: valid ones, ones at a border, and ones that must be refused."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hypothesis import assume
from hypothesis import strategies as st

from engine.contract.fields import MAX_CHOICES, MAX_STOP, MAX_STOP_TOKENS, MAX_STOPS
from engine.contract.limits import Limits
from engine.contract.requests import MAX_BEST_OF
from tests.answers import make_prompts

if TYPE_CHECKING:
    from tests.doors import Answer

NAN, INF = math.nan, math.inf
TEXT = st.text("AB z天é😀\u202e\x00", max_size=6)
CHAT_TEXT = st.text("AB z天é😀", min_size=1, max_size=6)
HUGE = [1 << 31, (1 << 31) + 1, (1 << 63) - 1, -(1 << 63), 1 << 63, -(1 << 63) - 1, 10**30]
NO_INTEGERS: list[Any] = [True, False, 0.0, 1.0, 1.5, NAN, INF, "1", "", [], [1], {}, {"a": 1}]
NO_NUMBERS: list[Any] = [NAN, INF, -INF, 1e308, -1e308, 10**30, True, "1", "NaN", "", [], [1.0], {}]
NO_BOOLEANS: list[Any] = [0, 1, 1.0, "true", "", [], {}]
NO_TEXTS: list[Any] = [5, 1.5, True, [], ["A"], {}, "\ud800"]


@dataclass(frozen=True)
class Vocabulary:
    """The model that requests are for."""

    n_vocab: int
    max_model_len: int
    most_tokens: int
    """Most tokens to generate for one request, over all candidates: what a test has the time for."""


@dataclass(frozen=True)
class Generated:
    """A request, and whether its answer is to be streamed."""

    fields: Answer
    is_streamed: bool


@dataclass(frozen=True)
class Field:
    """What a field is given: what is valid, but for other fields, or what is at a border or beyond."""

    valid: st.SearchStrategy[Any]
    odd: list[Any] = field(default_factory=list)


@st.composite
def requests(draw: st.DrawFn, vocabulary: Vocabulary) -> Generated:
    """Make a request of valid fields, and in most cases put something odd into one or two of them."""
    known = fields_of(vocabulary)
    names = {"max_tokens", "seed", draw(st.sampled_from(["prompt", "prompt", "messages"]))}
    names |= draw(st.sets(st.sampled_from(sorted(known.keys() - _NOT_AT_RANDOM)), max_size=6))
    if is_streamed := draw(st.booleans()):
        names |= draw(st.sampled_from([set(), {"stream_options"}]))
    fields = {name: draw(known[name].valid) for name in sorted(names)}
    for _ in range(draw(st.sampled_from([0, 1, 1, 2]))):
        name = draw(st.sampled_from([*sorted(known), *_WITH_MANY_FORMS]))
        fields[name] = draw(st.sampled_from([None, *known[name].odd]))
    assume(_tokens_to_generate(fields) <= vocabulary.most_tokens)
    return Generated(fields, is_streamed)


_WITH_MANY_FORMS = ["prompt", "prompt", "messages", "logit_bias", "stop", "stop_token_ids"]
_NOT_AT_RANDOM = {"model", "prompt", "messages", "max_tokens", "seed", "stream", "stream_options"}


def _tokens_to_generate(fields: Answer) -> int:
    """Return how much work a request is, if it is any: most of what is too much is refused."""
    counts = [fields.get(name) for name in ("n", "best_of")]
    each = max([1, *(count for count in counts if type(count) is int and count <= MAX_CHOICES)])
    total = len(make_prompts(fields)) * each
    most = 16 if fields.get("max_tokens") is None else fields["max_tokens"]
    return total * most if type(most) is int and most < 8192 and total <= Limits().max_sequences else 0


def fields_of(vocabulary: Vocabulary) -> dict[str, Field]:
    """Return every field of a request by its name, with another spelling and one that nobody knows."""
    return {
        **_inputs(vocabulary),
        **_integers(vocabulary),
        **_numbers(),
        **_switches(),
        **_stops(vocabulary),
        **_forms(),
        "logit_bias": _biases(vocabulary),
        "user": Field(st.none() | TEXT, NO_TEXTS),
        "suffix": Field(st.none() | st.just(""), ["B", *NO_TEXTS]),
        "nonsense": Field(st.sampled_from([1, NAN, None, "\u202e", {"a": [1]}]), [10**30]),
    }


def _ids(vocabulary: Vocabulary) -> st.SearchStrategy[int]:
    return st.integers(1, vocabulary.n_vocab - 2)


def _odd_ids(vocabulary: Vocabulary) -> list[Any]:
    return [0, -1, vocabulary.n_vocab - 1, vocabulary.n_vocab, 1 << 31, -(1 << 31), 1 << 63]


def _inputs(vocabulary: Vocabulary) -> dict[str, Field]:
    ids = st.lists(_ids(vocabulary), min_size=1, max_size=4)
    prompt = TEXT | st.lists(TEXT, min_size=1, max_size=3) | ids | st.lists(ids, min_size=1, max_size=3)
    too_many = Limits().max_prompts + 1
    odd_prompts = [
        *([1, token] for token in _odd_ids(vocabulary)),
        *(
            [],
            [[]],
            [[1], []],
            "",
            [""],
            ["A", 1],
            ["A", [1]],
            [["A"]],
            [[1], 2],
            [None],
            [1.0],
            [True],
            5,
            {},
        ),
        *("天" * vocabulary.max_model_len * 2, [1] * vocabulary.max_model_len, ["A"] * too_many, "\ud800"),
    ]
    message = st.fixed_dictionaries({"role": st.sampled_from(["user", "system", "A"]), "content": CHAT_TEXT})
    odd_messages = [
        *([], {}, "A", 5, ["A"], [{}], [{"role": "user"}], [{"role": "", "content": "A"}]),
        *([{"role": "user", "content": value}] for value in (None, 5, "A\0B", "\ud800")),
        *([{"role": value, "content": "A"}] for value in (None, 5, "A\0B")),
    ]
    return {
        "model": Field(st.nothing(), ["", "gpt-4", "天" * 100, *NO_TEXTS]),
        "prompt": Field(prompt, odd_prompts),
        "messages": Field(st.lists(message, min_size=1, max_size=2), odd_messages),
    }


def _integers(vocabulary: Vocabulary) -> dict[str, Field]:
    longest = vocabulary.max_model_len
    ranges: dict[str, tuple[st.SearchStrategy[int], list[int]]] = {
        "max_tokens": (st.integers(1, 6), [-1, 0, longest - 1, longest]),
        "n": (st.integers(1, 3), [-1, 0, MAX_CHOICES, MAX_CHOICES + 1]),
        "best_of": (st.integers(1, 4), [-1, 0, MAX_BEST_OF, MAX_BEST_OF + 1]),
        "logprobs": (st.integers(0, 5), [-1, 6]),
        "seed": (st.integers(-(1 << 63), (1 << 63) - 1), []),
        "top_k": (st.integers(-1, 40), [-2]),
        "min_tokens": (st.integers(0, 3), [-1, 7]),
    }
    return {
        name: Field(valid if name == "seed" else st.none() | valid, [*borders, *HUGE, *NO_INTEGERS])
        for name, (valid, borders) in ranges.items()
    }


def _numbers() -> dict[str, Field]:
    ranges = {
        "temperature": (0.0, 2.0),
        "top_p": (0.0, 1.0),
        "min_p": (0.0, 1.0),
        "presence_penalty": (-2.0, 2.0),
        "frequency_penalty": (-2.0, 2.0),
        "repetition_penalty": (0.5, 2.0),
        "repeat_penalty": (0.5, 2.0),
    }
    fields = {}
    for name, (low, high) in ranges.items():
        borders = [low, high, math.nextafter(low, -INF), math.nextafter(high, INF), -0.0, 0, 1, 2, 100, 100.1]
        fields[name] = Field(st.none() | st.floats(low, high), [*borders, *NO_NUMBERS])
    return fields


_SWITCHES = ("echo", "ignore_eos", "include_stop_str_in_output", "return_token_ids")


def _switches() -> dict[str, Field]:
    switch = st.none() | st.booleans()
    options = st.fixed_dictionaries({}, optional={"include_usage": switch, "continuous_usage_stats": switch})
    odd_options: list[Any] = [{}, {"include_usage": 1}, {"include_usage": True}, [], True, "include_usage"]
    return {
        **{name: Field(switch, NO_BOOLEANS) for name in _SWITCHES},
        "stream": Field(st.nothing(), [False, *NO_BOOLEANS]),
        "stream_options": Field(options, odd_options),
    }


def _stops(vocabulary: Vocabulary) -> dict[str, Field]:
    stop = st.text("AB z天é\x00", min_size=1, max_size=2)
    stops = st.none() | stop | st.lists(stop, max_size=MAX_STOPS)
    too_long: list[Any] = ["A" * MAX_STOP, "A" * (MAX_STOP + 1), ["A"] * MAX_STOPS, ["A"] * (MAX_STOPS + 1)]
    ids = st.none() | st.lists(_ids(vocabulary), max_size=3)
    odd_ids = [[token] for token in _odd_ids(vocabulary)]
    too_many = [[1] * MAX_STOP_TOKENS, [1] * (MAX_STOP_TOKENS + 1)]
    return {
        "stop": Field(stops, ["", [""], ["A", ""], [None], [1], {}, 5, "\ud800", *too_long]),
        "stop_token_ids": Field(ids, [*odd_ids, *too_many, [True], [1.0], ["1"], [None], "1", 5, {}]),
        "resume_token_ids": Field(ids, [*odd_ids, *too_many, [True], [1.0], ["1"], [None], "1", 5, {}]),
    }


def _forms() -> dict[str, Field]:
    """Return forms that the fake model's few letters can write, too."""
    schema = '{"type": "array", "maxItems": 0}'
    schemas = Field(st.sampled_from([None, schema]), ["{", '{"uniqueItems": true}', "{}", 1, [], "\ud800"])
    regexes = Field(st.sampled_from([None, "A+B?"]), ["", "(", 1, [], "\ud800", "(A{999}){999}"])
    grammars = Field(st.sampled_from([None, 'start: "A"+', 'root ::= "A" "B"*']), ["start:", "root ::= x", 1])
    choices = Field(st.sampled_from([None, ["A", "AB"]]), [[], ["A", 1], "A", [None], ["\ud800"], {}])
    objects = Field(st.sampled_from([None, False]), NO_BOOLEANS)
    named = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    odd_formats: list[Any] = [{"type": "json_schema"}, {"type": "xml"}, {}, {"type": "text", "a": 1}, [], 1]
    outputs: list[Any] = [None, {}, {"choice": ["A", "AB"]}, {"regex": "A+B?"}, {"json": schema}]
    odd_outputs: list[Any] = [{"regex": "A", "json": schema}, {"regex": ""}, {"a": 1}, [], 1]
    return {
        "response_format": Field(st.sampled_from([None, {"type": "text"}, named]), odd_formats),
        "structured_outputs": Field(st.sampled_from(outputs), odd_outputs),
        "grammar": Field(st.just("") | grammars.valid, grammars.odd),
        "json_schema": schemas,
        "guided_json": schemas,
        "guided_regex": regexes,
        "guided_choice": choices,
        "guided_grammar": grammars,
        "guided_json_object": objects,
    }


def _biases(vocabulary: Vocabulary) -> Field:
    bias = st.floats(-100, 100) | st.integers(-100, 100)
    odd_keys = [*map(str, _odd_ids(vocabulary)), "A", "", "1.5", "01", " 1", "1" * 30]
    all_banned = {str(token): -100 for token in range(min(vocabulary.n_vocab, 64))}
    odd_values = [NAN, INF, -INF, 100, 100.1, -100, -100.1, 10**30, "1", True, None, []]
    return Field(
        st.none() | st.dictionaries(_ids(vocabulary).map(str), bias, max_size=3),
        [*({key: 1.0} for key in odd_keys), *({"1": value} for value in odd_values), all_banned, [], "1", 5],
    )
