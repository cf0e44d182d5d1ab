"""The routes that a gateway asks, such as SMG: what is served here, how much at once, and how busy it is.

``docs/scale.md`` says which versions of which gateways were tried.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from engine import __version__
from engine.contract.gateway import RankLoad, ServedModelInfo, ServerLoad, WorkerInfo
from engine.serving import openapi

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi import FastAPI

    from engine.service.service import CompletionService
    from engine.service.snapshot import ServiceSnapshot

LOAD_PATHS = ("/loads", "/v1/loads")
"""Newer gateways ask the first, and the second where the first is not there; the answer is the same."""


def add_gateway_routes(app: FastAPI, service: CompletionService) -> None:
    """Add the routes, each under its name of today and under its earlier one."""

    async def load() -> ServerLoad:
        """Tell how busy the server is, as SGLang does."""
        service.check_open()  # or a gateway would take a dead server for an idle one
        return load_of(service.snapshot())

    async def server_info() -> WorkerInfo:
        """Tell what is served and how much at once, as SGLang does."""
        service.check_open()
        return worker_info_of(service)

    async def model_info() -> ServedModelInfo:
        """Tell what kind of model is served, as SGLang does."""
        service.check_open()
        return ServedModelInfo(served_model_name=service.name)

    for path in LOAD_PATHS:
        app.get(path, name=_name(path), **openapi.GATEWAY)(load)
    for path in ("/server_info", "/get_server_info"):
        app.get(path, name=_name(path), **openapi.GATEWAY)(server_info)
    for path in ("/model_info", "/get_model_info"):
        app.get(path, name=_name(path), **openapi.GATEWAY)(model_info)


def load_of(now: ServiceSnapshot) -> ServerLoad:
    """Return how busy a service is, by its numbers."""
    rank = RankLoad(
        num_running_reqs=now.sequences_running,
        num_waiting_reqs=now.sequences_waiting,
        num_total_reqs=now.sequences_running + now.sequences_waiting,
        max_running_requests=now.slots,
        num_used_tokens=now.kv_cells_used,
        max_total_num_tokens=now.kv_cells,
        token_usage=_part(now.kv_cells_used, now.kv_cells),
        utilization=_part(now.sequences_running, now.slots),
        gen_throughput=_tokens_per_second(now.sequences_running, now.step_costs),
        cache_hit_rate=_part(now.cached_tokens, now.prompt_tokens),
    )
    return ServerLoad(timestamp=datetime.now(UTC).isoformat(), version=f"nucleus-{__version__}", loads=[rank])


def worker_info_of(service: CompletionService) -> WorkerInfo:
    """Return what a service serves, and how much at once."""
    now = service.snapshot()
    return WorkerInfo(
        model_id=service.name,
        served_model_name=service.name,
        version=__version__,
        context_length=service.max_model_len,
        max_total_tokens=now.kv_cells,
        max_running_requests=now.slots,
    )


def _tokens_per_second(running: int, step_costs: Mapping[int, float]) -> float:
    """Return what so many choices get together, by the cost of a step of the next width that was measured."""
    if not running or not step_costs:
        return 0.0
    width = min((each for each in step_costs if each >= running), default=max(step_costs))
    return round(min(running, width) / step_costs[width], 3)


def _part(used: int, total: int) -> float:
    return round(min(used / total, 1.0), 6) if total else 0.0


def _name(path: str) -> str:
    return path.strip("/").replace("/", "_")
