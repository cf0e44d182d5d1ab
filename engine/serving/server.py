"""Both doors in one process, on one event loop, over one service."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from contextlib import ExitStack, closing
from functools import partial
from typing import TYPE_CHECKING, NoReturn

from engine import __version__
from engine.contract.status import GrpcAddress
from engine.loading.launch import launch
from engine.service.event_loop import new_event_loop
from engine.serving.access_log import AccessLog
from engine.serving.auth import ApiKeys
from engine.serving.banner import PROMPTS_WARNING, exposure_warnings, start_lines
from engine.serving.connection import ConnectionLimits
from engine.serving.grpc import start_grpc
from engine.serving.grpc_limits import ROOM_FOR_OTHER_CALLS, GrpcLimits
from engine.serving.http import create_app
from engine.serving.http_server import HttpServer
from engine.serving.listen import Endpoint
from engine.serving.origins import OriginPolicy
from engine.serving.signals import Signals, StoppedError
from engine.serving.systemd import keep_watchdog, notify, notify_stopping
from engine.serving.tls import Certificate
from engine.serving.tracing import tracing_from_environment

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.serving.grpc import GrpcServer
    from engine.settings import ServeSettings


def run(settings: ServeSettings, *, say: Callable[..., None]) -> None:
    """Serve until a signal ends it.

    Args:
        settings: What to serve, and where.
        say: Prints one start-up line for a person, in the ``style`` that rich knows by that name.

    Raises:
        EngineError: the model cannot be loaded, an address is taken, or a key or certificate cannot be read.
    """
    try:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(_serve(settings, say))
    except StoppedError as stopped:
        _end_process(128 + stopped.number)


def _end_process(status: int) -> NoReturn:
    """End it though a thread is inside llama.cpp, which nothing else can make it leave."""
    sys.stdout.flush()
    logging.shutdown()
    os._exit(status)


async def _serve(settings: ServeSettings, say: Callable[..., None]) -> None:
    began, signals = time.perf_counter(), Signals()
    keys, certificate, tracing = _keys(settings), _certificate(settings), tracing_from_environment()
    http_at, grpc_at = _endpoints(settings)
    with ExitStack() as at_end:
        if tracing is not None:
            at_end.callback(tracing.close)
        listening = at_end.enter_context(closing(http_at.listen()))
        at_end.callback(http_at.remove_file)
        grpc_at.listen().close()  # before minutes of loading
        at_end.callback(grpc_at.remove_file)
        say(f"Nucleus {__version__}: loading {settings.model}")
        notify(f"STATUS=Loading {settings.model}")
        launched = await signals.unless(partial(launch, settings))
        service = at_end.enter_context(closing(launched.service))
        # Use the address, not the name: a name may stand for several addresses, and some may be taken.
        http_at = http_at if http_at.path else http_at.at(*listening.getsockname()[:2])
        grpc_at = grpc_at if grpc_at.path else grpc_at.at(http_at.host or grpc_at.host)
        access_log = AccessLog(with_prompts=settings.log_prompts, tracing=tracing)
        grpc = await start_grpc(
            service,
            keys,
            grpc_at,
            certificate=certificate,
            limits=GrpcLimits(max_calls=settings.max_requests + ROOM_FOR_OTHER_CALLS),
            access_log=access_log,
        )
        http = HttpServer(
            create_app(
                service,
                keys,
                origins=_origins(settings),
                access_log=access_log,
                grpc=_address(grpc.endpoint, certificate),
            ),
            service,
            grace=settings.shutdown_grace,
            limits=ConnectionLimits(max_connections=settings.max_connections),
            certificate=certificate,
            keys=keys,
        )
        signals.hand_over(partial(_leave, http, grpc, settings.shutdown_grace))
        try:
            for line in start_lines(
                launched,
                http_at,
                grpc.endpoint,
                is_guarded=not keys.is_empty,
                has_tls=certificate is not None,
                seconds=time.perf_counter() - began,
            ):
                say(line)
            if keys.is_empty and not settings.allow_unauthenticated:
                for line in exposure_warnings(http_at, grpc.endpoint):
                    say(line, style="bold red")
            if settings.log_prompts:
                say(PROMPTS_WARNING, style="bold red")
            notify("READY=1", f"STATUS=Serving {service.name} at {http_at} and {grpc.endpoint}")
            watchdog = asyncio.create_task(keep_watchdog(lambda: service.is_alive))
            at_end.callback(watchdog.cancel)
            await http.serve(sockets=[listening])
        finally:
            await grpc.stop(http.seconds_left)
            if http.is_stuck:
                at_end.pop_all()  # closing the service would wait for the step
                http_at.remove_file()
                grpc_at.remove_file()
                _end_process(0)


def _leave(http: HttpServer, grpc: GrpcServer, grace: float, number: int) -> None:
    """Do what a signal asks for."""
    notify_stopping(grace)
    http.handle_exit(number, None)
    grpc.leave()


def _endpoints(settings: ServeSettings) -> tuple[Endpoint, Endpoint]:
    mode = int(settings.socket_mode, 8)
    return (
        Endpoint.of(settings.host, settings.http_port, flag="--http-port", mode=mode),
        Endpoint.of(settings.host, settings.grpc_port, flag="--grpc-port", mode=mode),
    )


def _address(endpoint: Endpoint, certificate: Certificate | None) -> GrpcAddress:
    return GrpcAddress(
        port=None if endpoint.path else endpoint.port,
        path=endpoint.path or None,
        tls=certificate is not None,
        client_certificate=certificate is not None and certificate.asks_clients,
    )


def _keys(settings: ServeSettings) -> ApiKeys:
    return ApiKeys(settings.api_key or (), settings.api_key_file)


def _certificate(settings: ServeSettings) -> Certificate | None:
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    return Certificate(settings.tls_cert, settings.tls_key, settings.tls_client_ca)


def _origins(settings: ServeSettings) -> OriginPolicy:
    return OriginPolicy.of(settings.host, settings.allowed_host, settings.cors_origin)
