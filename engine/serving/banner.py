"""What ``nucleus serve`` prints once it is ready: what it chose, where it listens, and a request to try."""

from __future__ import annotations

import json
import shlex
from ipaddress import ip_address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from engine.loading.launch import Launched
    from engine.serving.listen import Endpoint


def start_lines(
    launched: Launched, http: Endpoint, grpc: Endpoint, *, is_guarded: bool, has_tls: bool, seconds: float
) -> Iterator[str]:
    """Yield the lines.

    Args:
        launched: The service and its settings.
        http: Where the HTTP door listens.
        grpc: Where the gRPC door listens.
        is_guarded: Whether clients need a key.
        has_tls: Whether both doors have a certificate.
        seconds: How long the start took.
    """
    for setting in launched.report.settings:
        yield f"  {setting.what:<9} {setting.value}  ({setting.reason})"
    scheme = "https" if has_tls else "http"
    yield f"Ready in {seconds:.1f} s; Ctrl-C stops."
    yield f"  HTTP      {http if http.path else f'{scheme}://{_reachable(http)}'}"
    yield f"  gRPC      {_reachable(grpc)}"
    yield "Try:" if http.path else "Open the HTTP address in a browser, or try:"
    body = {"model": launched.service.name, "prompt": "The capital of France is", "max_tokens": 16}
    url = f"{scheme}://{'localhost' if http.path else _reachable(http)}/v1/completions"
    yield "  " + " ".join(
        (
            "curl",
            *(("--unix-socket", shlex.quote(http.path)) if http.path else ()),
            url,
            "-H 'Content-Type: application/json'",
            *(("-H 'Authorization: Bearer YOUR_KEY'",) if is_guarded else ()),
            f"-d {shlex.quote(json.dumps(body))}",
        )
    )


PROMPTS_WARNING = "WARNING: prompts are written to the log, as --log-prompts asks."


def exposure_warnings(http: Endpoint, grpc: Endpoint) -> Iterator[str]:
    """Yield what a person must know about a server that has no key."""
    exposed = [str(endpoint) for endpoint in (http, grpc) if not _is_local(endpoint)]
    if exposed:
        yield (
            f"WARNING: this server has no key, so anybody who reaches {' or '.join(exposed)} can use it. "
            "Set NUCLEUS_API_KEY or --api-key-file, listen on 127.0.0.1, or say --allow-unauthenticated."
        )


def _is_local(endpoint: Endpoint) -> bool:
    if endpoint.path or endpoint.host == "localhost":
        return True
    try:
        return ip_address(endpoint.host).is_loopback
    except ValueError:
        return False


def _reachable(endpoint: Endpoint) -> str:
    """Return the endpoint as a client on this machine names it."""
    return str(endpoint.at("127.0.0.1") if endpoint.host in ("0.0.0.0", "::") else endpoint)  # noqa: S104
