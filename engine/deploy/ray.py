"""Engines on Ray Serve: an application to run from Python, or by name.

    serve run engine.deploy.ray:build model=smollm2-135m-instruct replicas=2

Each replica is one engine in one process. Serve places, counts, restarts and updates replicas; what they
answer is what ``nucleus serve`` answers, by the same code.
"""

import re
from importlib import import_module
from typing import TYPE_CHECKING, Any, Self

from engine.errors import QueueFullError, UnavailableError
from engine.extras import explained

try:
    from ray import serve
    from ray.exceptions import RayActorError, WorkerCrashedError
    from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, ReplicaUnavailableError

    from engine.deploy.options import ClusterOptions, DoorOptions, ModelOptions, cluster_options
    from engine.deploy.replica import GrpcRequest, HttpRequest, Replica
    from engine.deploy.router import LostReplicaError, Router
except ModuleNotFoundError as error:
    raise explained(error, "engine.deploy.ray", "ray") from None

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["GRPC_SERVICERS", "build"]

GRPC_SERVICERS = ["engine.deploy.grpc_calls.add_servicers"]
"""What Serve has to be told for its gRPC door, as ``grpc_servicer_functions`` of its ``grpc_options``."""

_PREFIX_ROUTERS = (
    "ray.serve.llm.request_router",  # its public name, which needs one of the engines that it was made for
    "ray.llm._internal.serve.routing_policies.prefix_aware.prefix_aware_router",
)
_SESSION_ROUTER = "ray.serve.experimental.consistent_hash_router.ConsistentHashRouter"
_GONE = (RayActorError, WorkerCrashedError, ReplicaUnavailableError)
_ROOM_FOR_OTHER_CALLS = 256
_WAIT_LOOP_S = 0.5
_TRIES = 3


def build(options: "Mapping[str, Any] | ClusterOptions") -> "serve.Application":
    """Return an application for ``serve.run``, ``serve run`` and ``serve deploy``.

    Args:
        options: The fields of :class:`engine.deploy.options.ClusterOptions`; with one model, those of
            :class:`engine.deploy.options.ModelOptions` too, such as ``{"model": ..., "replicas": 2}``.

    Raises:
        InvalidRequestError: one is unknown, of a wrong type or out of range.
    """
    checked = cluster_options(options)
    doors = checked.doors()
    if not checked.has_router:
        return _replicas(serve.ingress()(Replica), checked.models[0], doors, checked)
    models = {model.name: _replicas(Replica, model, doors, checked) for model in checked.models}
    most = sum(model.max_ongoing * (model.max_replicas or model.replicas) for model in checked.models)
    waiting = sum(model.max_waiting for model in checked.models)
    router = serve.deployment(
        serve.ingress()(ServeRouter),
        name="router",
        num_replicas=checked.router_replicas,
        ray_actor_options={"num_cpus": 0},
        max_ongoing_requests=most + waiting + _ROOM_FOR_OTHER_CALLS,
        graceful_shutdown_timeout_s=max(model.shutdown_grace for model in checked.models) + _WAIT_LOOP_S,
        graceful_shutdown_wait_loop_s=_WAIT_LOOP_S,
    )
    return router.bind(doors, models)


def _replicas(
    replica: type[Replica], model: ModelOptions, doors: DoorOptions, options: ClusterOptions
) -> "serve.Application":
    """Return the deployment of one model: its replicas, and how Serve treats them."""
    given: dict[str, Any] = {
        "name": _deployment_name(model, options.routing),
        "ray_actor_options": {"num_cpus": model.cores, "num_gpus": model.gpus},
        "max_ongoing_requests": model.max_ongoing,
        "max_queued_requests": model.max_waiting,
        "backpressure_config": {"status_code": 429, "retry_after_s": QueueFullError.retry_after},
        "graceful_shutdown_timeout_s": model.shutdown_grace,
        "graceful_shutdown_wait_loop_s": _WAIT_LOOP_S,
        "max_constructor_retry_count": _TRIES,
        **_number_of(model),
        **_routing(options.routing, model),
    }
    deployment = serve.deployment(replica, **_merged(given, model.deployment))
    return deployment.bind(model.engine_options(), doors)


def _deployment_name(model: ModelOptions, routing: str) -> str:
    """Return it; with the routing, as whoever asks a deployment keeps the router that it first had for it."""
    name = "model-" + re.sub(r"[^\w.-]+", "-", model.name)
    return name if routing == "load" else f"{name}-{routing}"


def _number_of(model: ModelOptions) -> dict[str, Any]:
    if model.max_replicas is None:
        return {"num_replicas": model.replicas}
    bounds = {"min_replicas": model.replicas, "max_replicas": model.max_replicas}
    return {"autoscaling_config": bounds | {"target_ongoing_requests": model.parallel}}


def _routing(routing: str, model: ModelOptions) -> dict[str, Any]:
    """Return which of Serve's own routers chooses a replica; by default the idler of two."""
    if routing == "load":
        return {}
    if routing == "session":
        return {"request_router_config": {"request_router_class": _SESSION_ROUTER}}
    # By default it never looks at the load, and never forgets a prompt.
    rules = {"imbalanced_threshold": model.parallel, "do_eviction": True}
    config = {"request_router_class": _prefix_router(), "request_router_kwargs": rules}
    return {"request_router_config": config}


def _prefix_router() -> str:
    """Return where this version of Ray has its prefix-aware router."""
    for module in _PREFIX_ROUTERS:
        try:
            import_module(module)
        except ImportError:
            continue
        return f"{module}.PrefixCacheAffinityRouter"
    raise UnavailableError("This version of Ray has no prefix-aware router.", hint="Leave routing at load.")


def _merged(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    """Return both, theirs first; of a group of settings, each by itself."""
    merged = ours | theirs
    for name in ours.keys() & theirs.keys():
        if isinstance(ours[name], dict) and isinstance(theirs[name], dict):
            merged[name] = ours[name] | theirs[name]
    return merged


class ServeRouter(Router):
    """The router, with handles of Serve."""

    def __init__(self, doors: DoorOptions, handles: "Mapping[str, Any]") -> None:
        super().__init__(doors, {name: _Replicas(handle) for name, handle in handles.items()})


class _Replicas:
    """The replicas of one model, asked through Serve, which chooses one and waits while all are full."""

    def __init__(self, handle: Any) -> None:
        self._http = handle.options(stream=True, method_name="http")
        self._grpc = handle.options(stream=True, method_name="grpc")

    def http(self, request: HttpRequest) -> "_Answers":
        return _Answers(_for_session(self._http, request).remote(request))

    def grpc(self, request: GrpcRequest) -> "_Answers":
        return _Answers(_for_session(self._grpc, request).remote(request))


def _for_session(handle: Any, request: HttpRequest | GrpcRequest) -> Any:
    return handle.options(session_id=request.session) if request.session else handle


class _Answers:
    """What a replica says, and Serve's errors as ours."""

    def __init__(self, response: Any) -> None:
        self._response = response

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        try:
            said: bytes = await anext(self._response)
        except _GONE as error:
            raise LostReplicaError(str(error)) from error
        except BackPressureError as error:
            raise QueueFullError("As many requests as this server takes wait or run already.") from error
        except DeploymentUnavailableError as error:
            raise UnavailableError(error.message) from None
        return said

    def cancel(self) -> None:
        self._response.cancel()
