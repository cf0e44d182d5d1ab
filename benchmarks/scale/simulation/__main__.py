"""``python -m benchmarks.scale.simulation``: simulate a fleet behind each router.

``--quick`` takes some seconds and writes nothing. The whole takes about eight minutes of one core, and writes
``benchmarks/results/fleet_simulation.json``, its plots and the tables of the page. Simulated time is no time
of this machine: what else it does changes no figure.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed

from benchmarks.scale.simulation import report, scenarios

_SECONDS_OF_REQUEST = 4e-4
"""What a simulated request takes, for the time that is announced."""


def main() -> None:
    """Run the scenarios and write down what came of them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale.simulation", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="ten workers, one seed, nothing written")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="runs at a time")
    parser.add_argument("--plots", action="store_true", help="only write plots and tables again")
    options = parser.parse_args()
    if options.jobs < 1:
        parser.error(f"argument --jobs: {options.jobs} is not at least 1")
    if options.plots:
        report.draw()
        return
    wanted = list(scenarios.quick() if options.quick else scenarios.full())
    rates = {each.machine: scenarios.capacity(each.machine) for each in wanted}
    n_requests = sum(each.load * each.workers * rates[each.machine] * each.ends for each in wanted)
    seconds = n_requests * _SECONDS_OF_REQUEST / options.jobs
    print(f"{len(wanted)} runs, {n_requests:,.0f} requests; about {max(seconds, 1):,.0f} s", file=sys.stderr)
    began = time.perf_counter()
    found: dict[scenarios.Scenario, scenarios.Figures] = {}
    with ProcessPoolExecutor(options.jobs) as pool:
        runs = {pool.submit(scenarios.run, each): each for each in wanted}
        for run in as_completed(runs):
            found[runs[run]] = run.result()
            passed = time.perf_counter() - began
            print(
                f"\r{len(found)} of {len(wanted)} after {passed:.0f} s", end="", file=sys.stderr, flush=True
            )
    print(file=sys.stderr)
    rows = report.rows(found)
    report.show(rows)
    if not options.quick:
        report.write(rows, rates)
        report.draw()


if __name__ == "__main__":
    main()
