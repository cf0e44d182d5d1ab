"""What goes to the client program and back, without one."""

from __future__ import annotations

from benchmarks.serving.job import Job, Outcome, Work
from benchmarks.serving.meter import Spent
from benchmarks.serving.reply import Answer
from benchmarks.serving.summary import Summary


def test_a_job_survives_the_way_to_the_client() -> None:
    job = Job(Work(2.0, clients=8, logprobs=5), "grpc", "model", 80, 1)
    assert Job.parse(job.json()) == job
    assert "\n" not in job.json()


def test_an_outcome_survives_the_way_back() -> None:
    outcome = Outcome(Summary.of([Answer(0.0, [1.0, 2.0], 2)], 0.0), Spent(0.1, 3.2, None))
    assert Outcome.parse(outcome.json()) == outcome
    failed = Outcome.failed("no\nserver")
    assert Outcome.parse(failed.json()) == failed
    assert "\n" not in failed.json()
