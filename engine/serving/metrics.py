"""What a server has done and is doing, in the text format of Prometheus; one page for all doors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prometheus_client.core import Metric

    from engine.service.service import CompletionService

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def page_of(service: CompletionService) -> Callable[[], bytes]:
    """Return a function that writes the page from a new snapshot at each call."""
    registry = CollectorRegistry()
    registry.register(_SnapshotCollector(service))
    return lambda: generate_latest(registry)


class _SnapshotCollector(Collector):
    """Takes a snapshot when it is asked, so that metrics cost nothing meanwhile."""

    def __init__(self, service: CompletionService) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        now = self._service.snapshot()
        for name, help_text, total in (
            ("requests", "Requests that were taken, and have ended or left.", now.requests),
            ("prompt_tokens", "Tokens of their prompts; each prompt counts once.", now.prompt_tokens),
            ("cached_tokens", "Prompt tokens that were in the cache already.", now.cached_tokens),
            ("completion_tokens", "Tokens that were generated.", now.completion_tokens),
            ("steps", "Steps of the model.", now.steps),
            (
                "padding_tokens",
                "Tokens decoded for nobody: a step is cheaper with them, or batch-invariant.",
                now.padding_tokens,
            ),
            ("drafted_tokens", "Tokens that were guessed from the text before.", now.drafted_tokens),
            ("accepted_tokens", "Guessed tokens that were then drawn.", now.accepted_tokens),
            ("forced_tokens", "Tokens that a form left no choice about.", now.forced_tokens),
            ("masked_steps", "Steps in which somebody's answer had a form.", now.masked_steps),
            ("late_masks", "Steps that waited for what a form allows.", now.late_masks),
            ("restored_prefixes", "Prefixes of an earlier process, found at start.", now.restored_prefixes),
            ("graphs_reused", "Steps for which llama.cpp used a graph again.", now.graphs_reused),
        ):
            yield CounterMetricFamily(f"nucleus_{name}", help_text, value=total)
        for name, help_text, value in (
            ("up", "Whether the engine runs.", now.is_alive),
            ("requests_unfinished", "Requests that wait or run.", now.requests_unfinished),
            ("sequences_running", "Choices that have a slot.", now.sequences_running),
            ("sequences_waiting", "Choices that wait for one.", now.sequences_waiting),
            ("kv_cells", "Tokens that the KV cache holds.", now.kv_cells),
            ("kv_cells_free", "Tokens for which it has room.", now.kv_cells_free),
            ("prefix_bytes", "Bytes of saved prefixes on disk.", now.prefix_bytes),
        ):
            yield GaugeMetricFamily(f"nucleus_{name}", help_text, value=float(value))
        steps = GaugeMetricFamily(
            "nucleus_step_seconds", "What a step with so many decodes takes now.", labels=["decodes"]
        )
        for decodes, seconds in now.step_seconds.items():
            steps.add_metric([str(decodes)], seconds)
        yield steps
        attention = GaugeMetricFamily(
            "nucleus_attention_seconds",
            "What a decode takes besides, for so many tokens before it.",
            labels=["tokens"],
        )
        for tokens, seconds in now.attention_seconds.items():
            attention.add_metric([str(tokens)], seconds)
        yield attention
