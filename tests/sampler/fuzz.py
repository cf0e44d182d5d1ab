"""Draw from random cases, as nasty as the contract allows, and compare every result with the reference.

    python -m tests.sampler.fuzz --seconds 600 --seed 1 --save

The cases are those of the seeds from ``--seed`` on, so that ``--seed N --cases 1`` runs case N again. They
run in a process of their own: where the sampler crashes or never comes back, that is found, too. A case that
fails is made smaller and printed as JSON; ``--save`` puts it into ``corpus/``, which ``test_fuzz_corpus.py``
runs ever after.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from engine.sampling import Sampler
from tests.sampler import entries
from tests.sampler.case import check
from tests.sampler.generator import random_case
from tests.sampler.shrinking import shrink

if TYPE_CHECKING:
    from collections.abc import Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.sharedctypes import Synchronized

    from tests.sampler.case import Case

HANGS_AFTER = 60.0
"""Seconds that one case may take."""
ENOUGH = 20
"""Failures after which looking for more is no use."""
SAYS_EVERY = 15.0
"""Seconds between two lines of progress."""


@dataclass
class Found:
    """A case that failed."""

    seed: int
    faults: list[str]
    entry: dict[str, Any]
    """What stands for it in the corpus."""


@dataclass
class Tally:
    """What a run came to."""

    cases: int = 0
    draws: int = 0
    borderline: int = 0
    found: list[Found] = field(default_factory=list)


def found(seed: int, case: Case, faults: list[str]) -> Found:
    """Return a failure as what can be sent, printed and saved."""
    return Found(seed, faults, entries.entry(case, seed, faults[0]))


def examine(
    seeds: range,
    deadline: float,
    under_way: Synchronized[int],
    pipe: Connection,
    sampler_type: type[Sampler] = Sampler,
) -> None:
    """Run the cases of the seeds until the time is up; send the cases that fail, and counts now and then."""
    draws = borderline = 0
    for seed in seeds:
        under_way.value = seed
        case = random_case(seed)
        outcome = check(case, sampler_type)
        draws += outcome.draws
        borderline += outcome.borderline
        if outcome.faults:
            small = shrink(case, lambda simpler: bool(check(simpler, sampler_type).faults))
            pipe.send(found(seed, small, check(small, sampler_type).faults))
        if seed % 256 == 255 or outcome.faults:
            pipe.send((draws, borderline))
            draws = borderline = 0
        if monotonic() >= deadline:
            break
    pipe.send((draws, borderline))


Work = Callable[[range, float, "Synchronized[int]", "Connection"], None]


class Fuzzer:
    """Runs the cases in a child process, and in a new one where that died."""

    processes = multiprocessing.get_context("spawn")  # a fork would take a library's threads only half along

    def __init__(self, seeds: range, seconds: float, folder: Path | None, work: Work = examine) -> None:
        self.seeds = seeds
        self.work = work
        self.began = monotonic()
        self.deadline = self.began + seconds
        self.folder = folder
        self.tally = Tally()
        self.said = self.began

    def run(self) -> Tally:
        """Run all seeds, or until the time is up, or until enough was found."""
        seeds = self.seeds
        while seeds and monotonic() < self.deadline and len(self.tally.found) < ENOUGH:
            reached = self.run_child(seeds)
            self.tally.cases += reached - seeds.start + 1
            seeds = range(reached + 1, seeds.stop)
        return self.tally

    def run_child(self, seeds: range) -> int:
        """Run seeds in one child; return the last one that it came to."""
        under_way: Synchronized[int] = self.processes.Value("Q", seeds.start)
        ours, theirs = self.processes.Pipe(duplex=False)
        child = self.processes.Process(target=self.work, args=(seeds, self.deadline, under_way, theirs))
        child.start()
        theirs.close()
        ending = self.listen(ours, under_way)
        if ending:
            child.terminate()
        child.join()
        if ending != "enough was found" and (ending or child.exitcode != 0):
            seed = under_way.value
            what = ending or f"the process ended with {child.exitcode}"
            self.note(found(seed, random_case(seed), [what]))
        return under_way.value

    def listen(self, pipe: Connection, under_way: Synchronized[int]) -> str:
        """Take what a child sends until it ends; return why it has to be ended, if it has."""
        seed, since = under_way.value, monotonic()
        while True:
            try:
                while pipe.poll(1.0):
                    self.take(pipe.recv())
            except EOFError:
                return ""
            now = monotonic()
            if under_way.value != seed:
                seed, since = under_way.value, now
            if now - since > HANGS_AFTER:
                return f"no result after {HANGS_AFTER:g} seconds"
            if len(self.tally.found) >= ENOUGH:
                return "enough was found"
            self.say(seed)

    def take(self, sent: Found | tuple[int, int]) -> None:
        """Count what a child sent."""
        if isinstance(sent, Found):
            self.note(sent)
        else:
            self.tally.draws += sent[0]
            self.tally.borderline += sent[1]

    def note(self, failure: Found) -> None:
        """Print a failure, and save it where that was asked for."""
        self.tally.found.append(failure)
        print(f"seed {failure.seed}:", *failure.faults, sep="\n  ")
        print(json.dumps(failure.entry), flush=True)
        if self.folder is not None:
            print(f"saved as {entries.save(failure.entry, self.folder)}", flush=True)

    def say(self, seed: int) -> None:
        """Print where the run is, every few seconds."""
        if monotonic() - self.said >= SAYS_EVERY:
            self.said = monotonic()
            print(f"{self.said - self.began:5.0f} s: seed {seed}, {len(self.tally.found)} found", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status: 1 if a case failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.sampler.fuzz", description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=600, help="how long (600)")
    parser.add_argument("--seed", type=int, default=0, help="the first case (0)")
    parser.add_argument("--cases", type=int, default=2**62, help="how many cases at most")
    parser.add_argument(
        "--save",
        nargs="?",
        type=Path,
        const=entries.FOLDER,
        metavar="FOLDER",
        help="keep what fails (corpus/)",
    )
    given = parser.parse_args(arguments)
    tally = Fuzzer(range(given.seed, given.seed + given.cases), given.seconds, given.save).run()
    print(
        f"{tally.cases} cases, {tally.draws} draws, {tally.borderline} with a border within rounding; "
        f"{len(tally.found)} failed"
    )
    return 1 if tally.found else 0


if __name__ == "__main__":
    sys.exit(main())
