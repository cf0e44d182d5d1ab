"""Ray and Ray Serve on this machine, told what to do by lines of JSON: runs in the environment that has Ray.

    build/clients/ray/bin/python -m benchmarks.ray_driver

Each line on the standard input is ``{"do": ...}`` with more; each answer is a line on the standard output. It
ends, and all of its cluster, when its input does. :mod:`benchmarks.ray_cluster` is the other side.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from typing import Any

import ray
from ray import serve

from engine.deploy.ray import GRPC_SERVICERS, build

_APP = "nucleus"
_LOGGING = {"log_level": "WARNING", "enable_access_log": False}
_STORE_BYTES = 80 << 20  # about the least that Ray takes


def start(command: dict[str, Any]) -> None:
    """Start a cluster of one machine, and Serve's two doors."""
    ray.init(
        num_cpus=command["cores"],
        include_dashboard=False,
        object_store_memory=_STORE_BYTES,
        log_to_driver=command["shows_log"],
        logging_level=logging.ERROR,
    )
    serve.start(
        http_options={"host": command["host"], "port": command["http_port"]},
        grpc_options={"port": command["grpc_port"], "grpc_servicer_functions": GRPC_SERVICERS},
        logging_config=_LOGGING,
    )


def deploy(command: dict[str, Any]) -> None:
    """Run an application; return when its replicas are ready, and those that they replace have ended."""
    serve.run(build(command["options"]), name=_APP, logging_config=_LOGGING)


def status(_command: dict[str, Any]) -> dict[str, Any]:
    """Return each deployment's replicas, as how many are in which state."""
    deployments = serve.status().applications[_APP].deployments
    return {name: told.replica_states for name, told in deployments.items()}


_WHAT = {"start": start, "deploy": deploy, "status": status}


def main() -> None:
    """Do what is asked until the input ends."""
    with os.fdopen(os.dup(1), "w", buffering=1) as answers:
        os.dup2(2, 1)  # Ray prints, too
        for line in sys.stdin:
            command = json.loads(line)
            try:
                told: dict[str, Any] = {"is": _WHAT[command["do"]](command)}
            except Exception as error:
                told = {"failed": f"{type(error).__name__}: {error}"}
            print(json.dumps(told, default=str), file=answers)
    ray.shutdown()


if __name__ == "__main__":
    main()
