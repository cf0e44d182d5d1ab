"""What a client process is told, and what it answers."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

from benchmarks.serving.meter import Spent
from benchmarks.serving.question import MAX_TOKENS
from benchmarks.serving.summary import Percentiles, Summary

Door = Literal["http", "grpc", "python"]


@dataclass(frozen=True, slots=True)
class Work:
    """So much load."""

    seconds: float
    """How long requests are sent."""
    clients: int | None = None
    """Clients of a closed loop, or None for an open one."""
    rate: float | None = None
    """Requests a second of an open loop."""
    logprobs: int | None = None
    """Alternatives to ask for with each token."""
    max_tokens: int = MAX_TOKENS
    """Most tokens of an answer."""

    @property
    def load(self) -> str:
        """Clients of a closed loop, or requests a second of an open one."""
        return f"{self.clients}" if self.rate is None else f"{self.rate:.2f} req/s"


@dataclass(frozen=True, slots=True)
class Job:
    """Some work for one door of a server that runs already."""

    work: Work
    door: Door
    model: str
    """The name that the server answers to."""
    port: int = 0
    """Where it listens; the Python door needs none."""
    pid: int | None = None
    """The server's process, whose processor time is read; None where it is the client's own."""

    def json(self) -> str:
        """Write the job for :meth:`parse`, on one line."""
        return json.dumps(asdict(self))

    @classmethod
    def parse(cls, text: str) -> Job:
        """Read what :meth:`json` wrote."""
        fields: dict[str, Any] = json.loads(text)
        return cls(Work(**fields.pop("work")), **fields)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one job found."""

    summary: Summary
    spent: Spent

    @classmethod
    def failed(cls, error: str) -> Outcome:
        """Return the outcome of a job that could not be done at all."""
        return cls(Summary.nothing(error), Spent(0.0, None, None))

    def json(self) -> str:
        """Write the outcome for :meth:`parse`, on one line."""
        return json.dumps(asdict(self))

    @classmethod
    def parse(cls, text: str) -> Outcome:
        """Read what :meth:`json` wrote."""
        fields: dict[str, Any] = json.loads(text)
        summary = fields.pop("summary")
        for name in ("first_token", "between_tokens"):
            summary[name] = Percentiles(*summary[name]) if summary[name] else None
        return cls(Summary(**summary), Spent(*fields["spent"]))

    def entry(self) -> dict[str, object]:
        """Return the outcome for JSON that people read."""
        summary, spent = self.summary, self.spent
        return {
            **asdict(summary),
            "tokens_per_s": round(summary.tokens_per_s, 2),
            "tokens_per_request": round(summary.tokens_per_request, 2),
            "first_token": summary.first_token and summary.first_token._asdict(),
            "between_tokens": summary.between_tokens and summary.between_tokens._asdict(),
            "client_cpu_s": round(spent.client, 3),
            "server_cpu_s": None if spent.server is None else round(spent.server, 2),
            "elsewhere": None if spent.elsewhere is None else round(spent.elsewhere, 3),
        }
