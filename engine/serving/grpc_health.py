"""The health service of the gRPC door."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from engine.service.service import CompletionService

    Context = grpc.aio.ServicerContext[Any, Any]

_WATCH_SECONDS = 1.0  # nothing signals the engine's death, so a watch has to poll


class Health(health_pb2_grpc.HealthServicer):
    """Asks the service at the time of the call, so that a dead engine is never reported as healthy.

    Args:
        service: What is asked.
        names: The names of the gRPC services that stand for it, beside the empty one.
        max_watches: How many watches may be open; they need no key, and each takes the place of a call.
    """

    def __init__(self, service: CompletionService, names: Sequence[str], *, max_watches: int) -> None:
        self._service, self._names, self._max_watches = service, ("", *names), max_watches
        self._draining = asyncio.Event()
        self._n_watches = 0

    def drain(self) -> None:
        """Report NOT_SERVING from now on, and end every watch: one would hold up the server's stop."""
        self._draining.set()

    @override
    async def Check(
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> health_pb2.HealthCheckResponse:
        if request.service not in self._names:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"There is no service {request.service[:80]!r}.")
        return self._report(request.service)

    @override
    async def Watch(
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        if self._n_watches >= self._max_watches:
            limit = f"{self._max_watches} watches are open, the limit."
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, limit)
        self._n_watches += 1
        try:
            async for report in self._reports(request.service):
                yield report
        finally:
            self._n_watches -= 1

    async def _reports(self, name: str) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """Yield the state, and then each change, until the server ends."""
        told = None
        while True:
            draining = self._draining.is_set()
            if (report := self._report(name)) != told:
                yield (told := report)
            if draining:
                return
            with suppress(TimeoutError):
                await asyncio.wait_for(self._draining.wait(), _WATCH_SECONDS)

    async def List(self, _request: object, _context: Context) -> Any:  # noqa: N802
        # The stubs are older than this method.
        answer = health_pb2.HealthListResponse()  # type: ignore[attr-defined]
        for name in self._names:
            answer.statuses[name].CopyFrom(self._report(name))
        return answer

    def _report(self, name: str) -> health_pb2.HealthCheckResponse:
        if name not in self._names:
            return health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVICE_UNKNOWN)
        if self._service.is_ready and not self._draining.is_set():
            return health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)
        return health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.NOT_SERVING)
