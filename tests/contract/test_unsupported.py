"""Fields of other servers that would change the answer are refused; those that ask for nothing are not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jsonschema_rs
import pytest

from benchmarks.client import CallError
from engine.contract.limits import Limits
from engine.contract.parsing import parse_request
from engine.contract.unsupported import COMPLETIONS
from engine.errors import InvalidRequestError
from tests.conftest import MODEL

if TYPE_CHECKING:
    from tests.doors import Door

ASK = {"model": "m", "prompt": "a"}
ACTING: dict[str, Any] = {
    "structural_tag": {"structures": []},
    "regex": "a",
    "grammar_lazy": True,
    "tools": [{"type": "function"}],
    "tool_choice": "required",
    "modalities": ["text", "audio"],
    "lora": [{"id": 0, "scale": 1}],
    "truncate_prompt_tokens": 5,
    "prompt_logprobs": 0,
    "add_special_tokens": False,
    "skip_special_tokens": False,
    "use_beam_search": True,
    "mirostat": 2,
    "typical_p": 0.5,
    "tfs_z": 0.9,
    "dry_multiplier": 0.8,
    "xtc_probability": 0.5,
    "top_n_sigma": 1.0,
    "max_completion_tokens": 5,
    "n_predict": 5,
    "stop_sequences": ["a"],
}
INERT: dict[str, list[Any]] = {
    "regex": [None, ""],
    "tools": [None, []],
    "tool_choice": ["none", "auto"],
    "modalities": [["text"]],
    "lora": [[], None],
    "add_special_tokens": [True],
    "use_beam_search": [False],
    "mirostat": [0],
    "typical_p": [1, 1.0],
    "dry_multiplier": [0, 0.0],
    "top_n_sigma": [-1, 0],
    "max_completion_tokens": [None],
    "cache_prompt": [True],
    "id_slot": [-1],
    "timings_per_token": [True],
}


@pytest.mark.parametrize("field", ACTING)
def test_what_would_change_the_answer_is_refused_by_name(
    field: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(InvalidRequestError, match=f"'{field}'") as refused:
        parse_request({**ASK, field: ACTING[field]}, Limits())
    assert refused.value.param == field
    assert "ignoring" not in caplog.text
    assert not is_described(field, ACTING[field])


@pytest.mark.parametrize(("field", "value"), [(field, value) for field in INERT for value in INERT[field]])
def test_what_asks_for_nothing_is_ignored(field: str, value: object) -> None:
    assert parse_request({**ASK, field: value}, Limits()) == parse_request(ASK, Limits())
    assert is_described(field, value)


def is_described(field: str, value: object) -> bool:
    """Return True if the JSON schema takes a value, as the code does."""
    schema = {"patternProperties": COMPLETIONS.pattern_properties()}
    return jsonschema_rs.Draft202012Validator(schema).is_valid({field: value})


async def test_it_is_refused_through_every_door_that_can_carry_it(door: Door) -> None:
    if door.name == "grpc":
        pytest.skip("the messages have no such field")
    with pytest.raises(CallError) as refused:
        await door.complete(model=MODEL, prompt="a", regex="[0-9]")
    assert (refused.value.code, refused.value.param) == ("invalid_request_error", "regex")
