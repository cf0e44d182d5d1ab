"""Answers of a given form, through every door, by a real model."""

from __future__ import annotations

import asyncio
import json
import re
from itertools import accumulate, product
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from benchmarks.client import CallError
from tests.answers import comparable, joined, joined_chat
from tests.grammar.hostile import SCHEMAS

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.service.service import CompletionService
    from tests.doors import Answer, Door

RECORD: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "tags": {"type": "array", "items": {"enum": ["new", "old"]}, "maxItems": 2},
    },
    "required": ["name", "age", "tags"],
    "additionalProperties": False,
}
TEXT = json.dumps(RECORD)
ASK: dict[str, Any] = {"prompt": "A person: ", "max_tokens": 64, "seed": 3, "temperature": 1.5}


def is_record(text: str) -> bool:
    return bool(jsonschema.Draft202012Validator(RECORD).is_valid(json.loads(text)))


def is_year(text: str) -> bool:
    return re.fullmatch("(19|20)[0-9]{2}", text) is not None


FORMS: dict[str, tuple[dict[str, Any], Callable[[str], bool]]] = {
    "response_format": (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "person", "schema": TEXT}}},
        is_record,
    ),
    "json": ({"structured_outputs": {"json": TEXT}}, is_record),
    "json_schema": ({"json_schema": TEXT}, is_record),
    "regex": ({"structured_outputs": {"regex": "(19|20)[0-9]{2}"}}, is_year),
    "choice": (
        {"structured_outputs": {"choice": ["yes", "no", "yes, no"]}},
        {"yes", "no", "yes, no"}.__contains__,
    ),
    "lark": ({"structured_outputs": {"grammar": "start: /(19|20)[0-9]/ /[0-9]/"}}, is_year),
    "gbnf": ({"grammar": 'root ::= ("19" | "20") [0-9] [0-9]'}, is_year),
}


@pytest.mark.parametrize("form", FORMS)
async def test_the_answer_has_the_form(door: Door, form: str) -> None:
    fields, fits = FORMS[form]
    answer = await door.complete(**ASK, **fields, n=3)
    ended = [choice["text"] for choice in answer["choices"] if choice["finish_reason"] == "stop"]
    assert ended
    assert all(map(fits, ended))


@pytest.mark.parametrize("form", ["json", "regex"])
async def test_a_stream_joined_is_the_answer_and_drawn_tokens_are_the_forced_ones(
    door: Door, form: str
) -> None:
    fields = ASK | FORMS[form][0]
    whole = await door.complete(**fields, n=2)
    assert joined(await door.stream(**fields, n=2)) == whole["choices"]
    drawn = await door.complete(**fields, n=2, logprobs=2)
    assert [choice["text"] for choice in drawn["choices"]] == [choice["text"] for choice in whole["choices"]]
    for choice in drawn["choices"]:
        assert "".join(choice["logprobs"]["tokens"]) == choice["text"]


CITY: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"enum": ["Paris", "Prague", "Rome"]},
        "size": {"enum": [1, 12, 120, 2]},
        "is_large": {"type": "boolean"},
    },
    "required": ["city", "size", "is_large"],
    "additionalProperties": False,
}
CITIES = [
    json.dumps({"city": city, "size": size, "is_large": is_large})
    for city, size, is_large in product(["Paris", "Prague", "Rome"], [1, 12, 120, 2], [True, False])
]


def forced_by(answers: list[str], tokens: list[str]) -> list[bool]:
    """Return of each token whether all answers that begin with the text before it go on with it."""
    ends = [*accumulate(tokens)]
    befores = ["", *ends]
    return [
        all(answer.startswith(end) for answer in answers if answer.startswith(before))
        for before, end in zip(befores, ends, strict=False)
    ]


async def test_tokens_are_marked_where_the_schema_leaves_no_choice(door: Door) -> None:
    fields = ASK | {"json_schema": json.dumps(CITY), "logprobs": 1, "n": 4}
    answer = await door.complete(**fields)
    texts = [choice["text"] for choice in answer["choices"]]
    assert set(texts) <= set(CITIES)
    assert len(set(texts)) > 1
    for choice in answer["choices"]:
        logprobs = choice["logprobs"]
        assert logprobs["forced"] == forced_by(CITIES, logprobs["tokens"])
        assert {*logprobs["forced"]} == {True, False}
    assert joined(await door.stream(**fields)) == answer["choices"]
    echoed = await door.complete(**fields, echo=True)
    for choice, (before, after) in zip(
        answer["choices"], (_halves(each, choices=4) for each in echoed["choices"]), strict=False
    ):
        assert (any(before), after) == (False, choice["logprobs"]["forced"])


def _halves(choice: Answer, *, choices: int) -> tuple[list[bool], list[bool]]:
    logprobs = choice["logprobs"]
    n_prompt = sum(offset < len(ASK["prompt"]) for offset in logprobs["text_offset"])
    return logprobs["forced"][:n_prompt], logprobs["forced"][n_prompt:]


async def test_a_chat_marks_the_same_tokens(door: Door) -> None:
    fields = {"messages": [{"role": "user", "content": "A city?"}], "seed": 3, "max_tokens": 64}
    answer = await door.chat(**fields, json_schema=json.dumps(CITY), logprobs=True)
    (choice,) = answer["choices"]
    tokens = choice["logprobs"]["content"]
    told = [token["forced"] for token in tokens]
    assert told == forced_by(CITIES, [token["token"] for token in tokens])
    stream = await door.stream_chat(**fields, json_schema=json.dumps(CITY), logprobs=True)
    assert joined_chat(stream) == [choice]
    free = await door.chat(**fields | {"max_tokens": 4}, logprobs=True)
    assert not any("forced" in token for token in free["choices"][0]["logprobs"]["content"])


async def test_the_characters_of_a_free_string_are_not_marked(door: Door) -> None:
    schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    fields = ASK | {"json_schema": json.dumps(schema | {"additionalProperties": False}), "max_tokens": 24}
    for choice in (await door.complete(**fields, n=3, logprobs=0))["choices"]:
        free = re.match(r'\{"name": "((?:[^"\\]|\\.)*)', choice["text"])
        assert free
        start, end = (len(ASK["prompt"]) + offset for offset in free.span(1))
        offsets, forced = choice["logprobs"]["text_offset"], choice["logprobs"]["forced"]
        told = [*zip(offsets, offsets[1:], forced, strict=False)]
        assert not any(is_forced for begin, _, is_forced in told if start <= begin < end)
        assert all(is_forced for _, token_end, is_forced in told if token_end <= start)


async def test_nothing_is_marked_without_a_form(door: Door) -> None:
    answer = await door.complete(prompt="A person: ", max_tokens=4, logprobs=1)
    assert "forced" not in answer["choices"][0]["logprobs"]


async def test_forms_beside_free_text_change_nobodys_answer(door: Door, service: CompletionService) -> None:
    free = {"prompt": "Once upon a time", "max_tokens": 24, "seed": 1, "logprobs": 1}
    requests = [free, *(ASK | fields for fields, _ in FORMS.values())]
    alone = [comparable(await door.complete(**each)) for each in requests]
    together = await asyncio.gather(*(door.complete(**each) for each in requests))
    assert [*map(comparable, together)] == alone


async def test_other_fields_work_as_without(door: Door) -> None:
    fields = ASK | FORMS["regex"][0]
    best = await door.complete(**fields, best_of=3)
    echoed = await door.complete(**fields, echo=True)
    assert is_year(best["choices"][0]["text"])
    assert echoed["choices"][0]["text"].startswith(ASK["prompt"])
    assert is_year(echoed["choices"][0]["text"].removeprefix(ASK["prompt"]))
    stopped = await door.complete(**fields, stop=["19", "20"])
    assert (stopped["choices"][0]["text"], stopped["choices"][0]["finish_reason"]) == ("", "stop")
    endless = await door.complete(**fields, ignore_eos=True, min_tokens=20)
    assert is_year(endless["choices"][0]["text"]), "nothing can follow, so it ends"
    short = await door.complete(**(fields | {"max_tokens": 2}))
    assert short["choices"][0]["finish_reason"] == "length"


BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"response_format": {"type": "json"}}, "response_format", "json"),
    ({"response_format": {"type": "json_schema"}}, "response_format", "one schema"),
    ({"structured_outputs": {"regex": "a", "choice": ["b"]}}, "structured_outputs", "regex and choice"),
    ({"grammar": "start: /a/", "json_schema": "{}"}, "json_schema", "'grammar'"),
    ({"json_schema": "{"}, "json_schema", "JSON"),
    (
        {"json_schema": '{"properties": {"a": {"uniqueItems": true}}}'},
        "json_schema",
        "'properties.a.uniqueItems'",
    ),
    ({"json_schema": '{"enum": []}'}, "json_schema", ""),
    ({"structured_outputs": {"regex": "(a"}}, "structured_outputs", "regex"),
    ({"structured_outputs": {"grammar": "start: nothing"}}, "structured_outputs", "nothing"),
    ({"grammar": "root ::= nothing"}, "grammar", "nothing"),
]


@pytest.mark.parametrize(("fields", "param", "told"), BAD)
async def test_a_form_that_cannot_be_had_is_refused(
    door: Door, fields: Answer, param: str, told: str
) -> None:
    with pytest.raises(CallError) as refused:
        await door.complete(**ASK, **fields)
    assert (refused.value.code, refused.value.param) == ("invalid_request_error", param)
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


async def test_hostile_forms_hurt_nobody_beside_them(door: Door) -> None:
    """They are refused or answered; those beside them get what they get alone."""
    names = ("pairs of alternatives", "many multiples", "references into each other", "long counts")
    hostile = [ASK | {"json_schema": json.dumps(SCHEMAS[name]), "max_tokens": 8} for name in names]
    regex = {"structured_outputs": {"regex": "(.{0,100}a){0,100}"}}
    polite = [
        {"prompt": "Once upon a time", "max_tokens": 24, "seed": 1},
        ASK | {"json_schema": TEXT},
    ]
    alone = [comparable(await door.complete(**each)) for each in polite]
    together = await asyncio.gather(
        *(door.complete(**each) for each in polite),
        *(door.complete(**each) for each in [*hostile, ASK | regex]),
        return_exceptions=True,
    )
    beside, ends = together[: len(polite)], together[len(polite) :]
    assert [comparable(each) for each in beside if isinstance(each, dict)] == alone
    refusals = [end for end in ends if isinstance(end, BaseException)]
    assert refusals
    assert [(end.code, end.param) for end in refusals if isinstance(end, CallError)] == [
        ("invalid_request_error", "structured_outputs" if end is ends[-1] else "json_schema")
        for end in refusals
    ]
