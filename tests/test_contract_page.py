"""`docs/contract.md` says what the code does: its tables are read and compared."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema_rs
import pytest

from engine import errors
from engine.contract.chat_responses import ChatCompletion
from engine.contract.json_schemas import request_schemas
from engine.contract.limits import Limits
from engine.contract.responses import Completion, ModelCard
from engine.contract.validators import MAX_TEXT
from engine.errors import EngineError

if TYPE_CHECKING:
    from pydantic import BaseModel

PAGE = (Path(__file__).parent.parent / "docs" / "contract.md").read_text()
CARD = ModelCard(id="m", created=0, max_model_len=(1 << 31) + 1, n_vocab=32)
REQUESTS = request_schemas(Limits(), CARD, template="{model}")
NUMBERS = {1 << 31: "2^31", -(1 << 63): "-2^63", (1 << 63) - 1: "2^63 - 1"}


def table(heading: str) -> list[dict[str, str]]:
    """Return the first table under a heading, each row by the names of its columns."""
    part = PAGE.partition(f"\n{heading}\n")[2]
    lines = part[part.index("\n|") + 1 :].partition("\n\n")[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [dict(zip(rows[0], row, strict=True)) for row in rows[2:]]


SHARED = {row["field"].strip("`"): row for row in table("## Fields of a request")}
CHAT = {row["field"].strip("`"): row for row in table("## The chat shape")}
ONLY_COMPLETIONS = {"prompt", "best_of", "echo", "suffix"}
FIELDS = {
    "CompletionRequest": SHARED,
    "ChatRequest": {name: row for name, row in SHARED.items() if name not in ONLY_COMPLETIONS} | CHAT,
}
ROWS = [(kind, field) for kind in FIELDS for field in REQUESTS[kind]["properties"]]


def number(value: float) -> str:
    return NUMBERS.get(int(value), f"{value:g}")


def limits_of(schema: Any) -> list[str]:
    """Return the limits of a field in the words of the page."""
    told = []
    for form in schema.get("anyOf", [schema]):
        values = form.get("additionalProperties", form)
        values = form if values is True else values
        low = number(values["minimum"]) if "minimum" in values else None
        if "exclusiveMinimum" in values:
            low = f"above {number(values['exclusiveMinimum'])}"
        if low is not None:
            told.append(f"{low} … {number(values['maximum'])}")
        if "maxLength" in form:
            told.append(f"{form['minLength']} … {form['maxLength']} characters")
        elif "minItems" in form or "minLength" in form:
            told.append("not empty")
        if form.get("maxItems", CARD.max_model_len) != CARD.max_model_len:
            told.append(f"at most {form['maxItems']}")
    return told


@pytest.mark.parametrize("kind", FIELDS)
def test_every_field_has_its_row(kind: str) -> None:
    assert set(FIELDS[kind]) == set(REQUESTS[kind]["properties"])


@pytest.mark.parametrize(("kind", "field"), ROWS)
def test_the_row_has_default_range_and_null(kind: str, field: str) -> None:
    row, schema = FIELDS[kind][field], REQUESTS[kind]["properties"][field]
    if field in REQUESTS[kind]["required"]:
        assert (row["default"], row["null"]) == ("required", "400")
    else:
        assert (row["default"], row["null"]) == (f"`{json.dumps(schema['default'])}`", "default")
    limits = limits_of(schema)
    assert all(limit in row["range"] for limit in limits), limits
    assert bool(row["range"]) == bool(limits)


def test_every_error_has_its_row() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and kind is not EngineError]
    expected = {
        (
            str(kind.http_status),
            f"`{kind.type}`",
            f"`{kind.code}`",
            f"`{kind.grpc_status}`",
            f"`{kind.__name__}`",
        )
        for kind in kinds
        if issubclass(kind, EngineError)
    }
    starting = {kind for kind in expected if "FAILED_PRECONDITION" in kind[3]}  # no request meets these
    rows = {
        tuple(row[name] for name in ("HTTP", "type", "code", "gRPC", "Python")) for row in table("## Errors")
    }
    assert rows == expected - starting | {("", kind[1], kind[2], "", kind[4]) for kind in starting}


def test_the_limits_are_those_of_the_code() -> None:
    limits = {row["what"]: row["limit"] for row in table("## Limits")}
    assert limits["prompts of a request"] == str(Limits().max_prompts)
    assert limits["`n` or `best_of` times prompts"] == str(Limits().max_sequences)
    assert limits["`logprobs`, `top_logprobs`"] == str(Limits().max_logprobs)
    assert f"at most {MAX_TEXT:,} characters" in PAGE


def test_the_answers_that_are_shown_are_some() -> None:
    kinds: tuple[type[BaseModel], ...] = (Completion, ChatCompletion)
    for shown, kind in zip(re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL), kinds, strict=True):
        schema = kind.model_json_schema(mode="serialization")
        jsonschema_rs.Draft202012Validator(schema).validate(json.loads(shown))
