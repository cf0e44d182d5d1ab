"""One engine in one process of a cluster, behind the doors that a server has."""

from __future__ import annotations

import logging
import pickle
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from grpc_health.v1 import health_pb2_grpc

from engine.deploy import http_calls
from engine.deploy.grpc_calls import COMPLETIONS, Call, Methods
from engine.deploy.grpc_methods import with_grpc_methods
from engine.errors import UnavailableError
from engine.loading.launch import launch
from engine.pb.nucleus.v1 import completions_pb2_grpc as pb_grpc
from engine.serving.access_log import AccessLog
from engine.serving.auth import ApiKeys
from engine.serving.grpc import Completions, refuse
from engine.serving.grpc_gate import GrpcGate
from engine.serving.grpc_health import Health
from engine.serving.grpc_limits import GrpcLimits
from engine.serving.http import create_app
from engine.serving.log_format import json_formatter
from engine.serving.origins import OriginPolicy
from engine.serving.tracing import tracing_from_environment

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from google.protobuf.message import Message
    from starlette.types import ASGIApp

    from engine.deploy.grpc_calls import Metadata, Refusal
    from engine.deploy.grpc_methods import Context
    from engine.deploy.options import DoorOptions
    from engine.loading.options import EngineOptions

log = logging.getLogger("nucleus.deploy")


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request over HTTP, as a router hands it on."""

    scope: dict[str, Any]
    body: bytes
    prompt: str
    """The text by which Serve's prefix-aware router finds this request alike to others."""
    session: str = ""
    """Whose requests go to one replica, where routing is by that."""


@dataclass(frozen=True, slots=True)
class GrpcRequest:
    """A call of gRPC, as a router hands it on; the last two as above."""

    path: str
    message: Message
    peer: str
    metadata: Metadata
    prompt: str
    session: str = ""


@with_grpc_methods
class Replica:
    """A model, loaded; it is ready when this is made, and ended by :meth:`close`.

    A cluster calls it in three ways: the ASGI application of its HTTP door, methods named as those of our
    gRPC services, and, where a router is between, :meth:`http` and :meth:`grpc`.

    Args:
        model: What is loaded, and how.
        doors: Who may ask, and what is logged.

    Raises:
        EngineError: the model cannot be loaded, or the keys cannot be read.
    """

    def __init__(self, model: EngineOptions, doors: DoorOptions) -> None:
        _configure_log(doors)
        keys = ApiKeys(doors.api_key or (), doors.api_key_file)
        tracing = tracing_from_environment()
        access_log = AccessLog(with_prompts=doors.log_prompts, tracing=tracing)
        launched = launch(model)
        self._service = launched.service
        for what, value, reason in launched.report.settings:
            log.info("%s: %s (%s)", what, value, reason)
        # Any machine of a cluster may be asked by its address; a name has to be told.
        origins = OriginPolicy.of("0.0.0.0", doors.allowed_host, doors.cors_origin)  # noqa: S104
        self._http_app = create_app(self._service, keys, origins=origins, access_log=access_log)
        limits = GrpcLimits()
        self._gate = GrpcGate(keys, limits, access_log, refuse=partial(refuse, self._service))
        health = Health(self._service, COMPLETIONS.full_name, max_watches=0)
        self._methods = Methods()
        pb_grpc.add_CompletionServiceServicer_to_server(Completions(self._service), self._methods)  # type: ignore[arg-type]
        health_pb2_grpc.add_HealthServicer_to_server(health, self._methods)  # type: ignore[arg-type]

    def __serve_build_asgi_app__(self) -> ASGIApp:
        return self._http_app

    def check_health(self) -> None:
        """Return while the engine answers.

        Raises:
            UnavailableError: it does not; Serve then ends this replica and starts another one.
        """
        if not self._service.is_alive:
            raise UnavailableError("The engine is not running.")

    def call_grpc(self, path: str, request: Message, context: Context) -> AsyncGenerator[Message | Refusal]:
        """Yield the responses of a call, and at last a refusal if it fails."""
        call = Call(context.peer(), context.invocation_metadata())
        return call.answers(self._gate, self._methods, path, request)

    async def http(self, request: HttpRequest) -> AsyncIterator[bytes]:
        """Yield lists of ASGI messages, pickled: Ray is slow with anything but bytes."""
        async with aclosing(http_calls.answers(self._http_app, request.scope, request.body)) as answers:
            async for messages in answers:
                yield pickle.dumps(messages)

    async def grpc(self, request: GrpcRequest) -> AsyncIterator[bytes]:
        """Yield responses and at last a refusal, pickled, if the call fails."""
        call = Call(request.peer, request.metadata)
        async with aclosing(
            call.answers(self._gate, self._methods, request.path, request.message)
        ) as answers:
            async for said in answers:
                yield pickle.dumps(said)

    def close(self) -> None:
        """End what runs, and free the model."""
        self._service.close()

    def __del__(self) -> None:
        """Close; Serve calls this when what ran has ended, or its time is over."""
        if hasattr(self, "_service"):  # else it could not be loaded
            self.close()


def _configure_log(doors: DoorOptions) -> None:
    """Write our log where Ray collects it; the loggers of Ray stay as they are."""
    ours = logging.getLogger("nucleus")
    ours.setLevel(doors.log_level.upper())
    if not ours.handlers:
        handler = logging.StreamHandler()
        text = logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
        handler.setFormatter(json_formatter() if doors.log_format == "json" else text)
        ours.addHandler(handler)
        ours.propagate = False
