"""All that one run found: checks and tables to print, and everything as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from benchmarks.sampler.machine import description
from benchmarks.soak.check import Check
from benchmarks.soak.memory import Memory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchmarks.soak.sample import Sample
    from benchmarks.soak.tally import Tally
    from benchmarks.soak.watch import Watch

_ENOUGH_REQUESTS = 300  # fewer may happen to bring about no preemption


class Findings:
    """What was found, and whether all of it is as it should be.

    Args:
        tallies: Door -> what became of its requests; None where the clients ended by themselves.
        samples: The server's process, from the first moment on.
        watch: What the scheduler has decided.
        checks: What was looked at when the clients had left.
    """

    def __init__(
        self, tallies: dict[str, Tally] | None, samples: list[Sample], watch: Watch, checks: list[Check]
    ) -> None:
        self._tallies = tallies or {}
        self._samples = samples
        self._watch = watch
        self._memory = Memory.of(samples)
        self._checks = [self._clients_check(), self._stress_check(), *checks, self._memory_check()]

    @property
    def hold(self) -> bool:
        """Tell whether every check holds."""
        return all(check.holds for check in self._checks)

    def lines(self) -> Iterator[str]:
        """Write the summary."""
        yield from (
            "",
            f"{'door':6}{'completed':>11}{'cancelled':>11}{'refused':>9}{'errors':>8}{'tokens':>10}",
        )
        for door, tally in self._tallies.items():
            yield (
                f"{door:6}{tally.completed:11}{tally.cancelled:11}{tally.refused:9}{tally.errors:8}"
                f"{tally.completion_tokens:10,}"
            )
        yield from ("", *self._memory_lines(), "")
        yield from (check.text() for check in self._checks)

    def write(self, path: Path) -> None:
        """Write everything as JSON."""
        content = {
            "holds": self.hold,
            "machine": description(),
            "checks": [check._asdict() for check in self._checks],
            "requests": {door: asdict(tally) for door, tally in self._tallies.items()},
            "scheduler": self._decisions(),
            "memory": self._memory and asdict(self._memory),
            "samples": [asdict(sample) for sample in self._samples],
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    def _memory_lines(self) -> Iterator[str]:
        memory = self._memory
        if memory is None:
            return
        warm = f"{memory.warm_up_seconds / 60:.1f} min"
        yield f"{'memory':10}{warm:>10}{'end':>10}{'most':>10}{'an hour':>10}"
        yield (
            f"{'RSS, MiB':10}{memory.warm_mib:10.1f}{memory.last_mib:10.1f}{memory.most_mib:10.1f}"
            f"{memory.mib_an_hour:+10.1f}"
        )
        yield (
            f"{'blocks':10}{memory.warm_blocks:10,}{memory.last_blocks:10,}{'':10}{memory.blocks_an_hour:+10,}"
        )

    def _decisions(self) -> dict[str, int]:
        watch = self._watch
        names = ("preempted", "shared", "restored", "dropped")
        return {name: getattr(watch, name) for name in names}

    @property
    def _n_requests(self) -> int:
        tallies = self._tallies.values()
        return sum(tally.completed + tally.cancelled + tally.refused + tally.errors for tally in tallies)

    def _clients_check(self) -> Check:
        what = "every request ends as its client expects"
        if not self._tallies:
            return Check(what, False, "the clients ended before they were told to, or not when they were")
        tallies = self._tallies.values()
        first = next((f"; the first: {t.first_error}" for t in tallies if t.first_error), "")
        errors = sum(tally.errors for tally in tallies)
        return Check(what, not errors, f"{errors} errors in {self._n_requests} requests{first}")

    def _memory_check(self) -> Check:
        what, memory = "memory stays flat", self._memory
        if memory is None:
            return Check(what, False, f"nobody can tell after {len(self._samples)} samples")
        told = f"{memory.grown_mib:+.1f} MiB from first to last third, at most {memory.allowed_mib:.1f}"
        return Check(what, memory.grown_mib <= memory.allowed_mib, told)

    def _stress_check(self) -> Check:
        """A run in which the cache was never short would have shown little."""
        decisions = self._decisions()
        told = ", ".join(f"{count} {what}" for what, count in decisions.items())
        enough = self._n_requests >= _ENOUGH_REQUESTS
        holds = all(decisions.values()) if enough else bool(self._watch.shared and self._watch.restored)
        return Check("the cache is short, and shared", holds, told)
