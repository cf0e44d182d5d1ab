"""One row of the throughput table."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.serving.job import Job, Outcome
    from benchmarks.serving.summary import Percentiles

HEADING = (
    f"{'server':18}{'door':5}{'load':>13}{'logprobs':>9}{'tokens/s':>9}{'TTFT p50':>9}{'p95':>8}{'p99':>8}"
    f"{'ITL p50':>9}{'p95':>8}{'p99':>8}{'client':>8}{'elsewhere':>10}{'errors':>7}"
)
"""Times are milliseconds; ``client`` is its seconds of processor time."""


@dataclass(frozen=True, slots=True)
class Row:
    """One server under one load."""

    model: str
    server: str
    job: Job
    outcome: Outcome

    @property
    def load(self) -> str:
        """Clients of a closed loop, or requests a second of an open one."""
        return f"{self.job.clients}" if self.job.rate is None else f"{self.job.rate:.2f} req/s"

    @property
    def tokens_per_s(self) -> float:
        """Tokens that came in a second."""
        return self.outcome.summary.tokens_per_s

    def text(self) -> str:
        """Write the row as :data:`HEADING` has it."""
        summary, spent = self.outcome.summary, self.outcome.spent
        logprobs = "-" if self.job.logprobs is None else self.job.logprobs
        elsewhere = "-" if spent.elsewhere is None else f"{spent.elsewhere:.2f}"
        return (
            f"{self.server:18}{self.job.door:5}{self.load:>13}{logprobs:>9}{self.tokens_per_s:9.1f}"
            f"{_times(summary.first_token, 9)}{_times(summary.between_tokens, 9)}"
            f"{spent.client:8.2f}{elsewhere:>10}{summary.errors:7}"
        )

    def entry(self) -> dict[str, object]:
        """Return the row for JSON."""
        job, spent, summary = self.job, self.outcome.spent, self.outcome.summary
        return {
            "server": self.server,
            "door": job.door,
            "clients": job.clients,
            "requests_per_s": None if job.rate is None else round(job.rate, 3),
            "logprobs": job.logprobs,
            "seconds": job.seconds,
            "client_cpu_s": round(spent.client, 3),
            "server_cpu_s": None if spent.server is None else round(spent.server, 2),
            "elsewhere": None if spent.elsewhere is None else round(spent.elsewhere, 3),
            **asdict(summary),
            "tokens_per_s": round(summary.tokens_per_s, 2),
            "tokens_per_request": round(summary.tokens_per_request, 2),
            "first_token": _named(summary.first_token),
            "between_tokens": _named(summary.between_tokens),
        }


def _times(times: Percentiles | None, width: int) -> str:
    shown = ("-",) * 3 if times is None else tuple(f"{time:.0f}" for time in times)
    return f"{shown[0]:>{width}}{shown[1]:>8}{shown[2]:>8}"


def _named(times: Percentiles | None) -> dict[str, float] | None:
    return None if times is None else times._asdict()
