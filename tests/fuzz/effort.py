"""How hard a fuzzer tries: a second's work in the tests, as long as one likes in ``python -m tests.fuzz``."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

FACTOR = "NUCLEUS_FUZZ_FACTOR"
"""The environment variable that has how many times as many examples are tried."""


def examples(number: int) -> settings:
    """Return the settings of a fuzzer that tries so many examples in the tests."""
    factor = int(os.environ.get(FACTOR, "1"))
    return settings(max_examples=number * factor, deadline=None, suppress_health_check=list(HealthCheck))
