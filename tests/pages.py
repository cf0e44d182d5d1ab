"""What ``/metrics`` tells, as tests compare it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

from engine.serving.metrics import page_of

if TYPE_CHECKING:
    from prometheus_client import Metric

    from engine.service.service import CompletionService

Numbers = dict[str, float]
"""Values by name and labels, as Prometheus writes them: ``nucleus_requests_total{door="http"}``."""


def families_of(service: CompletionService) -> list[Metric]:
    """Return what the page of a service has now."""
    return [*text_string_to_metric_families(page_of(service)().decode())]


def numbers_of(service: CompletionService) -> Numbers:
    """Return every number of the page of a service."""
    found: Numbers = {}
    for family in families_of(service):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
            found[sample.name + (f"{{{labels}}}" if labels else "")] = sample.value
    return found


def gained(before: Numbers, after: Numbers) -> Numbers:
    """Return by how much numbers have grown, of those that have."""
    grown = {name: value - before.get(name, 0.0) for name, value in after.items()}
    return {name: growth for name, growth in grown.items() if growth}


def outcomes(found: Numbers) -> Numbers:
    """Return how many requests ended how, as ``door outcome``."""
    told = (name.split('"') for name, value in found.items() if name.startswith("nucleus_requests_total"))
    return {f"{door} {outcome}": found[_requests(door, outcome)] for _, door, _, outcome, _ in told}


def _requests(door: str, outcome: str) -> str:
    return f'nucleus_requests_total{{door="{door}",outcome="{outcome}"}}'
