"""Lets a model write answers at a high temperature under many schemas, and validates each that is whole.

python -m benchmarks.grammar.answers suite.jsonl sample.jsonl.gz
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections import Counter
from contextlib import closing
from fractions import Fraction
from itertools import islice
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import jsonschema
from jsonschema import ValidationError

from benchmarks.grammar.__main__ import lines
from engine.async_llm import AsyncLLM
from engine.errors import InvalidRequestError
from engine.models.packaged import DEFAULT_MODEL, PACKAGED

if TYPE_CHECKING:
    from collections.abc import Iterator

_AT_ONCE = 8
_PROMPT = "A JSON value: "


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.grammar.answers", description=__doc__.split("\n")[0]
    )
    parser.add_argument("paths", type=Path, nargs="+", help="a line for each schema: JSON with its text")
    parser.add_argument("--model", choices=list(PACKAGED), default=DEFAULT_MODEL, help="default: %(default)s")
    parser.add_argument("--schemas", type=int, default=200, help="schemas that are accepted (default: 200)")
    parser.add_argument("--each", type=int, default=10, help="answers for each (default: 10)")
    parser.add_argument("--temperature", type=float, default=1.5, help="default: 1.5")
    parser.add_argument("--max-tokens", type=int, default=64, help="default: 64")
    found = asyncio.run(_run(parser.parse_args()))
    for what, count in sorted(found.items()):
        print(f"{count:6} {what}")


async def _run(asked: argparse.Namespace) -> Counter[str]:
    found: Counter[str] = Counter()
    schemas = _mixed(asked.paths)
    with closing(AsyncLLM(asked.model, parallel=16)) as llm:
        while missing := min(asked.schemas - found["schemas"], _AT_ONCE):
            some = [*islice(schemas, missing)]
            if not some:
                break
            for counts in await asyncio.gather(*(_answers(llm, schema, asked) for schema in some)):
                found += counts
    return found


async def _answers(llm: AsyncLLM, schema: Any, asked: argparse.Namespace) -> Counter[str]:
    fields = {"temperature": asked.temperature, "max_tokens": asked.max_tokens, "n": asked.each}
    try:
        answer = await llm.complete(prompt=_PROMPT, json_schema=json.dumps(schema), **fields)
    except InvalidRequestError:
        return Counter({"schemas refused": 1})
    found = Counter({"schemas": 1})
    for choice in answer.choices:
        if choice.finish_reason != "stop":
            found["answers that were cut off"] += 1
        elif _is_valid(choice.text, schema):
            found["answers that are valid"] += 1
        else:
            found["answers that are NOT valid"] += 1
            print(f"not valid: {choice.text!r:.200} by {json.dumps(schema):.400}")
    return found


def _is_valid(text: str, schema: Any) -> bool:
    validator = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    exact = jsonschema.validators.extend(validator, {"multipleOf": _multiple_of})
    checker = validator.FORMAT_CHECKER
    return bool(exact(schema, format_checker=checker).is_valid(json.loads(text)))


def _multiple_of(_validator: Any, step: float, value: Any, _schema: Any) -> Iterator[ValidationError]:
    """Divide as decimals: of binary fractions, as jsonschema has them, 2048.0487 is no multiple of 0.0001."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and Fraction(str(value)) % Fraction(str(step)):
        yield ValidationError(f"{value} is not a multiple of {step}")


def _mixed(paths: list[Path]) -> Iterator[Any]:
    """Yield the schemas of all files in a random order."""
    schemas = [line["schema"] for path in paths for line in lines(path)]
    Random(0).shuffle(schemas)  # noqa: S311
    yield from schemas


if __name__ == "__main__":
    main()
