"""What the client process is told, and what it answers."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

from benchmarks.serving.meter import Spent
from benchmarks.serving.summary import Percentiles, Summary

Door = Literal["http", "grpc"]


@dataclass(frozen=True, slots=True)
class Job:
    """One point: so much load on one door of a server that runs already."""

    door: Door
    port: int
    pid: int
    """The server's process, whose processor time is read."""
    model: str
    """The name that the server answers to."""
    seconds: float
    """How long requests are sent."""
    clients: int | None = None
    """Clients of a closed loop, or None for an open one."""
    rate: float | None = None
    """Requests a second of an open loop."""
    logprobs: int | None = None

    def json(self) -> str:
        """Write the job for :meth:`parse`."""
        return json.dumps(asdict(self))

    @classmethod
    def parse(cls, text: str) -> Job:
        """Read what :meth:`json` wrote."""
        return cls(**json.loads(text))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one job found."""

    summary: Summary
    spent: Spent

    def json(self) -> str:
        """Write the outcome for :meth:`parse`."""
        return json.dumps(asdict(self))

    @classmethod
    def parse(cls, text: str) -> Outcome:
        """Read what :meth:`json` wrote."""
        fields: dict[str, Any] = json.loads(text)
        summary = fields.pop("summary")
        for name in ("first_token", "between_tokens"):
            summary[name] = Percentiles(*summary[name]) if summary[name] else None
        return cls(Summary(**summary), Spent(*fields["spent"]))
