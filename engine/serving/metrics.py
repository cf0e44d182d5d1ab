"""What a server has done and is doing, in the text format of Prometheus; one page for all doors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prometheus_client.core import Metric

    from engine.core.engine import Engine

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def page_of(engine: Engine) -> Callable[[], bytes]:
    """Return what writes the page; each call reads the engine anew."""
    registry = CollectorRegistry()
    registry.register(_Reader(engine))
    return lambda: generate_latest(registry)


class _Reader(Collector):
    """Reads the engine when it is asked, so that metrics cost nothing meanwhile."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def collect(self) -> Iterator[Metric]:
        engine, totals = self._engine, self._engine.totals
        for name, help_text, total in (
            ("requests", "Requests that were taken, and have ended or left.", totals.requests),
            ("prompt_tokens", "Tokens of their prompts; each prompt counts once.", totals.prompt_tokens),
            ("cached_tokens", "Prompt tokens that were in the cache already.", totals.cached_tokens),
            ("completion_tokens", "Tokens that were generated.", totals.completion_tokens),
        ):
            yield CounterMetricFamily(f"nucleus_{name}", help_text, value=total)
        for name, help_text, value in (
            ("up", "Whether the engine runs.", engine.is_alive),
            ("requests_unfinished", "Requests that wait or run.", engine.n_requests),
            ("sequences_running", "Choices that have a slot.", engine.n_running),
            ("sequences_waiting", "Choices that wait for one.", engine.n_waiting),
            ("kv_cells", "Tokens that the KV cache holds.", engine.backend.n_cells),
            ("kv_cells_free", "Tokens for which it has room.", engine.free_cells),
        ):
            yield GaugeMetricFamily(f"nucleus_{name}", help_text, value=float(value))
