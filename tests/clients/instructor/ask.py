"""Asks for a model through instructor, and writes what it made of the answers as JSON.

Arguments: the server's URL, its key, its model, and the messages as JSON.
"""

from __future__ import annotations

import json
import sys
from typing import Literal

import instructor
import openai
from pydantic import BaseModel, ConfigDict, Field


class Wind(BaseModel):
    """A part of it."""

    model_config = ConfigDict(extra="forbid")

    from_: Literal["东", "west"] = Field(alias="from")


class Weather(BaseModel):
    """The model of `tests/clients/forms.py`, which this environment cannot import."""

    model_config = ConfigDict(extra="forbid")

    sky: Literal["clear", "cloudy"]
    warm: bool
    wind: Wind


def main(base_url: str, key: str, model: str, messages: str) -> None:
    sdk = openai.OpenAI(base_url=base_url, api_key=key, max_retries=0)
    client = instructor.from_openai(sdk, mode=instructor.Mode.JSON_SCHEMA)
    asked = {"model": model, "messages": json.loads(messages), "seed": 7, "max_tokens": 64, "max_retries": 0}
    whole = client.chat.completions.create(response_model=Weather, **asked)
    parts = [*client.chat.completions.create_partial(response_model=Weather, **asked)]
    told = {"whole": whole, "last": parts[-1]}
    written = {name: answer.model_dump(by_alias=True) for name, answer in told.items()}
    print(json.dumps(written | {"parts": len(parts)}))


main(*sys.argv[1:])
