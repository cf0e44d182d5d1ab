"""``nucleus complete``: where the prompt comes from, the fields of the contract, and what is printed."""

from __future__ import annotations

import inspect
import json
from typing import TYPE_CHECKING

import pytest
from pydantic import BaseModel

from engine.commands.request_options import RequestOptions
from engine.contract.chat import ChatRequest
from engine.contract.requests import CompletionRequest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.commands.run import Command

GREEDY = ("--temperature", "0", "--max-tokens", "6", "--ctx-size", "512")
PARIS = " Paris."


class City(BaseModel):
    name: str
    capital: bool


def test_the_prompt_is_the_argument_a_file_or_standard_input(command: Command, tmp_path: Path) -> None:
    prompt = "The capital of France is"
    file = tmp_path / "prompt.txt"
    file.write_text(prompt + "\n")
    given = command("complete", prompt, *GREEDY)
    assert given.status == 0, given.err
    assert given.out.startswith(PARIS)
    piped = prompt.encode() + b"\r\n"
    assert command("complete", "--file", str(file), *GREEDY).out == given.out
    assert command("complete", "-", *GREEDY, stdin=piped).out == given.out
    assert command("complete", *GREEDY, stdin=piped).out == given.out


@pytest.mark.parametrize(
    ("arguments", "stdin", "words"),
    [
        ((), b"", ("PROMPT", "standard input", "--file")),
        (("-",), b"\xff", ("standard input", "UTF-8", "byte 0")),
        (("a", "--file", "b"), b"", ("PROMPT", "--file")),
        (("--file", "absent.txt"), b"", ("absent.txt",)),
        (("a", "--temperature", "3"), b"", ("--temperature", "2", "3.0")),
        (("a", "--n", "many"), b"", ("--n", "integer", "'many'")),
        (("a", "--max-tokens", "0"), b"", ("--max-tokens", "1", "0")),
        (("a", "--logit-bias", "{"), b"", ("--logit-bias", "JSON", "@FILE")),
        (("a", "--logit-bias", "@absent.json"), b"", ("absent.json",)),
        (("a", "--stop-token-ids", "x"), b"", ("--stop-token-ids", "integer")),
        (("a", "--regex", "a", "--choice", "b"), b"", ("--regex", "--choice")),
        (("a", "--json-schema", "@absent.json"), b"", ("absent.json",)),
        (("a", "--ctx-size", "1"), b"", ("--ctx-size", "2")),
    ],
)
def test_bad_input_is_one_line_before_a_model_is_loaded(
    command: Command, arguments: tuple[str, ...], stdin: bytes, words: tuple[str, ...]
) -> None:
    run = command("complete", *arguments, "--model", "no-such-model.gguf", stdin=stdin)
    assert run.status == 1
    assert run.out == ""
    (line,) = run.err.strip().splitlines()
    for word in words:
        assert word in line


@pytest.mark.parametrize("request_type", [CompletionRequest, ChatRequest])
def test_every_field_of_the_contract_can_be_given(request_type: type[CompletionRequest]) -> None:
    """A field that is added to the contract gets a flag, or a reason here."""
    stand_in: dict[str, object] = {"prompt": "a"} if request_type is CompletionRequest else {"messages": []}
    flags = {kind.name for kind in RequestOptions(request_type, stand_in=stand_in).parameters()}
    by_other_names = {"guided_json", "guided_grammar", "guided_json_object", "guided_regex", "guided_choice"}
    of_the_verb = {"model", "prompt", "messages", "stream", "stream_options", "user"}
    of_the_verb |= {"resume_token_ids"}  # the command never breaks off
    assert flags == set(request_type.model_fields) - by_other_names - of_the_verb | {"regex", "choice"}


def test_each_kind_of_field_arrives_as_the_contract_has_it(tmp_path: Path) -> None:
    options = RequestOptions(CompletionRequest, stand_in={"prompt": "a"})
    schema = tmp_path / "city.json"
    schema.write_text('{"type": "object"}')
    nothing = {kind.name: None for kind in options.parameters()}
    given = {
        "n": "2",
        "temperature": "0.5",
        "echo": True,
        "stop": ["a", "b"],
        "stop_token_ids": ["1"],
        "logit_bias": '{"7": -100}',
        "json_schema": f"@{schema}",
        "suffix": "",
    }
    assert options.parse(nothing | given) == {
        "n": 2,
        "temperature": 0.5,
        "echo": True,
        "stop": ["a", "b"],
        "stop_token_ids": [1],
        "logit_bias": {"7": -100},
        "json_schema": '{"type": "object"}',
        "suffix": "",
    }
    assert all(kind.kind is inspect.Parameter.KEYWORD_ONLY for kind in options.parameters())


def test_json_is_the_answer_as_the_http_door_gives_it(command: Command) -> None:
    flags = ("--json", "--logprobs", "2", "--n", "2", "--seed", "1")
    answer = json.loads(command("complete", "The capital of France is", *GREEDY, *flags).out)
    assert answer["object"] == "text_completion"
    assert len(answer["choices"]) == 2
    assert len(answer["choices"][0]["logprobs"]["top_logprobs"][0]) == 2
    assert set(answer["choices"][0]["logprobs"]) == {
        "tokens",
        "token_logprobs",
        "top_logprobs",
        "text_offset",
    }


def test_choices_are_told_apart(command: Command) -> None:
    run = command("complete", "The capital of France is", *GREEDY, "--n", "2")
    first, second = run.out.split("choice 2 of 2")
    assert "choice 1 of 2" in first
    assert PARIS in first
    assert PARIS in second


def test_an_answer_has_the_form_that_a_file_gives(command: Command, tmp_path: Path) -> None:
    (tmp_path / "city.json").write_text(json.dumps(City.model_json_schema()))
    flags = ("--max-tokens", "64", "--ctx-size", "512", "--seed", "1")
    run = command("complete", "Paris as JSON: ", "--json-schema", "@city.json", *flags)
    City.model_validate_json(run.out)
    assert command("complete", "Yes or no? ", "--choice", "yes", "--choice", "no", *flags).out in (
        "yes\n",
        "no\n",
    )


def test_an_answer_that_is_no_text_goes_into_a_pipe_as_it_is(command: Command, tiny_model: str) -> None:
    run = command("complete", "a", "--model", tiny_model, "--regex", "\\x1b\\[2J", "--ctx-size", "64")
    assert run.out == "\x1b[2J\n"
