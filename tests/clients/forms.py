"""The form that clients ask for: a model of pydantic's."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Wind(BaseModel):
    """A part of it."""

    model_config = ConfigDict(extra="forbid")

    from_: Literal["东", "west"] = Field(alias="from")


class Weather(BaseModel):
    """What clients ask for; its values are few, so that a small model comes to an end."""

    model_config = ConfigDict(extra="forbid")

    sky: Literal["clear", "cloudy"]
    warm: bool
    wind: Wind


ASKED = [{"role": "user", "content": "How is the weather? Answer in JSON."}]
