"""What ``/health?verbose`` tells an operator."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.contract.status import HealthReport
from engine.hardware import resident_memory

if TYPE_CHECKING:
    from engine.service.service import CompletionService


def health_of(service: CompletionService, *, http_connections: int | None) -> HealthReport:
    """Return how a service is at this moment, and the process that it runs in."""
    now = service.snapshot()
    return HealthReport(
        status="ok" if service.is_alive else "dead",
        ready=service.is_ready,
        draining=service.is_draining,
        stalled_seconds=round(service.stalled_seconds, 3),
        requests_unfinished=now.requests_unfinished,
        sequences_running=now.sequences_running,
        sequences_waiting=now.sequences_waiting,
        kv_cells=now.kv_cells,
        kv_cells_free=now.kv_cells - now.kv_cells_used,
        memory_bytes=resident_memory(),
        http_connections=http_connections,
    )
