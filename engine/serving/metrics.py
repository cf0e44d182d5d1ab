"""What a server has done and is doing, in the text format of Prometheus; one page for all doors.

Names that begin with ``gen_ai_`` are OpenTelemetry's for servers of generative models, as Prometheus spells
them. No label has a value that a client chooses. ``docs/metrics.md`` has a row for each name.
"""

from __future__ import annotations

from importlib.metadata import version
from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from engine import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from prometheus_client.core import Metric

    from engine.histogram import Distribution
    from engine.service.service import CompletionService
    from engine.service.snapshot import ServiceSnapshot

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_PROVIDER = "nucleus"
_GEN_AI_LABELS = ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model")


def page_of(service: CompletionService) -> Callable[[], bytes]:
    """Return a function that writes the page from a new snapshot at each call."""
    registry = CollectorRegistry()
    registry.register(_SnapshotCollector(service))
    ProcessCollector(registry=registry)  # on Linux; elsewhere it tells nothing
    PlatformCollector(registry=registry)
    return lambda: generate_latest(registry)


class _SnapshotCollector(Collector):
    """Takes a snapshot when it is asked, so that metrics cost next to nothing meanwhile."""

    def __init__(self, service: CompletionService) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        now = self._service.snapshot()
        yield _build_info(now)
        yield _outcomes(now)
        yield from _request_times(now)
        yield from _counters(now)
        yield from _gauges(now)
        yield from _step_times(now)
        yield from _costs(now)


def _build_info(now: ServiceSnapshot) -> Metric:
    labels = {"version": __version__, "model": now.model, "llama_cpp_python": version("llama-cpp-python")}
    info = GaugeMetricFamily("nucleus_build_info", "What runs and is served; always 1.", labels=[*labels])
    info.add_metric([*labels.values()], 1)
    return info


def _outcomes(now: ServiceSnapshot) -> Metric:
    requests = CounterMetricFamily(
        "nucleus_requests",
        "Requests for a completion or a chat that have ended, by their door and what became of them.",
        labels=["door", "outcome"],
    )
    for labels, count in now.outcomes.items():
        requests.add_metric(labels, count)
    return requests


def _request_times(now: ServiceSnapshot) -> Iterator[Metric]:
    durations = HistogramMetricFamily(
        "gen_ai_server_request_duration_seconds",
        "Time from a request's arrival to its last token, or to the error that it ended with.",
        labels=[*_GEN_AI_LABELS, "error_type"],
    )
    for (operation, error_type), distribution in now.durations.items():
        _add(durations, [operation, _PROVIDER, now.model, error_type], distribution)
    yield durations
    for name, help_text, distributions in (
        (
            "time_to_first_token",
            "Time from a request's arrival to its first token, waiting included; of requests that went well.",
            now.first_token_seconds,
        ),
        (
            "time_per_output_token",
            "Time for each token of a choice behind the first, on average over a request that went well.",
            now.token_seconds,
        ),
    ):
        family = HistogramMetricFamily(f"gen_ai_server_{name}_seconds", help_text, labels=_GEN_AI_LABELS)
        for operation, distribution in distributions.items():
            _add(family, [operation, _PROVIDER, now.model], distribution)
        yield family
    yield _histogram(
        "queue_duration_seconds",
        "Time from a request's arrival to its first slot.",
        now.queue_seconds,
    )


def _counters(now: ServiceSnapshot) -> Iterator[Metric]:
    for name, help_text, total in (
        ("prompt_tokens", "Tokens of the prompts of requests that have ended.", now.prompt_tokens),
        ("cached_tokens", "Those of them that were in the prefix cache.", now.cached_tokens),
        ("completion_tokens", "Tokens that were generated.", now.completion_tokens),
        (
            "prefill_tokens",
            "Tokens computed many at a time: of prompts, of texts that go on, and forced ones.",
            now.prefill_tokens,
        ),
        ("decode_tokens", "Tokens computed one at a time for a sequence.", now.decode_tokens),
        (
            "padding_tokens",
            "Tokens decoded for nobody: a step is cheaper with them, or batch-invariant.",
            now.padding_tokens,
        ),
        ("drafted_tokens", "Tokens guessed from the text before, and computed.", now.drafted_tokens),
        ("accepted_tokens", "Guessed tokens that were then drawn.", now.accepted_tokens),
        ("forced_tokens", "Tokens that a form left no choice about.", now.forced_tokens),
        ("steps", "Steps of the model.", now.steps),
        ("step_failures", "Steps that ended with an error.", now.failed_steps),
        ("masked_steps", "Steps in which somebody's answer had a form.", now.masked_steps),
        ("late_masks", "Steps that waited for what a form allows.", now.late_masks),
        ("mask_wait_seconds", "How long they waited.", now.mask_seconds),
        ("preemptions", "How many times a sequence has lost its slot, and went on later.", now.preemptions),
        ("restored_prefixes", "Prefixes of an earlier process, found at start.", now.restored_prefixes),
        ("graphs_reused", "Steps for which llama.cpp used a graph again.", now.graphs_reused),
    ):
        yield CounterMetricFamily(f"nucleus_{name}", help_text, value=total)


def _gauges(now: ServiceSnapshot) -> Iterator[Metric]:
    for name, help_text, value in (
        ("up", "Whether the engine runs.", now.is_alive),
        ("requests_unfinished", "Requests that wait or run.", now.requests_unfinished),
        ("requests_limit", "Unfinished requests beyond which new ones are refused.", now.max_requests),
        ("slots", "Sequences that can run at once.", now.slots),
        ("sequences_running", "Choices that have a slot.", now.sequences_running),
        ("sequences_waiting", "Choices that wait for one.", now.sequences_waiting),
        ("kv_cells", "Tokens that the KV cache can hold.", now.kv_cells),
        ("kv_cells_used", "Tokens that it holds.", now.kv_cells_used),
        ("prefix_bytes", "Bytes of saved prefixes on disk.", now.prefix_bytes),
    ):
        yield GaugeMetricFamily(f"nucleus_{name}", help_text, value=float(value))


def _step_times(now: ServiceSnapshot) -> Iterator[Metric]:
    for name, help_text, distribution in (
        ("step", "Time of a step, from its plan until its text is delivered.", now.step_seconds),
        ("model", "Of that, the model: from a batch to its logits.", now.model_seconds),
        ("sampling", "Of that, drawing tokens, with the wait for masks.", now.sampling_seconds),
    ):
        yield _histogram(f"{name}_duration_seconds", help_text, distribution)


def _costs(now: ServiceSnapshot) -> Iterator[Metric]:
    for name, help_text, label, costs in (
        ("step", "What a step with so many decodes is expected to take now.", "decodes", now.step_costs),
        (
            "attention",
            "What a decode is expected to take besides, for so many tokens before it.",
            "tokens",
            now.attention_costs,
        ),
    ):
        yield _labelled(f"nucleus_{name}_cost_seconds", help_text, label, costs)


def _labelled(name: str, help_text: str, label: str, values: Mapping[int, float]) -> Metric:
    family = GaugeMetricFamily(name, help_text, labels=[label])
    for key, value in values.items():
        family.add_metric([str(key)], value)
    return family


def _histogram(name: str, help_text: str, distribution: Distribution) -> Metric:
    family = HistogramMetricFamily(f"nucleus_{name}", help_text, labels=())
    _add(family, [], distribution)
    return family


def _add(family: HistogramMetricFamily, labels: list[str], distribution: Distribution) -> None:
    """Add a distribution as Prometheus has it: how many numbers were at most a bound."""
    bounds = [*map(floatToGoString, distribution.bounds), "+Inf"]
    counts = accumulate(distribution.counts)
    family.add_metric(labels, [*zip(bounds, counts, strict=True)], distribution.total)
