"""``nucleus top``."""

from __future__ import annotations

import http.client
import json
import os
import time
import urllib.request
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

import typer
from pydantic import ValidationError
from rich.live import Live
from typing_extensions import override

from engine.commands.terminal import out, quiet_logging, write_json
from engine.errors import InvalidRequestError, UnavailableError
from engine.settings import ENV_PREFIX

if TYPE_CHECKING:
    from engine.contract.state import ServerState

_TIMEOUT_S = 10.0
_MOST_BYTES = 4 << 20


def top(
    url: Annotated[
        str, typer.Argument(metavar="URL", help="The server's HTTP address.")
    ] = "http://127.0.0.1:8000",
    *,
    every: Annotated[float, typer.Option(min=0.1, max=3600, help="Seconds from one look to the next.")] = 1.0,
    once: Annotated[bool, typer.Option("--once", metavar="", help="Look once, and leave.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", metavar="", help="Print JSON, as /state answers; implies --once.")
    ] = False,
    api_key_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="File whose first line is the key.", show_default=False),
    ] = None,
) -> None:
    """Watch a running server: its slots, its KV cache, its queue and its speed.

    nucleus top

    nucleus top http://10.0.0.7:8000 --once --json

    The key of a server that needs one is taken from NUCLEUS_API_KEY, or from a file.
    """
    from engine.commands.dashboard import Dashboard

    quiet_logging()
    server = _Server(url, _key(api_key_file))
    first = server.state()
    if as_json:
        write_json(first.model_dump(mode="json"))
        return
    dashboard = Dashboard()
    if once or not out.is_terminal:
        out.print(dashboard.draw(first))
        return
    with Live(dashboard.draw(first), console=out, auto_refresh=False) as live:
        while True:  # until Ctrl-C
            time.sleep(every)
            live.update(dashboard.draw(server.state()), refresh=True)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Leaves a redirect an error: the key is for the server that was named."""

    @override
    def redirect_request(self, *_: object, **__: object) -> None:
        return None


class _Server:
    """Asks a server what it does."""

    def __init__(self, url: str, key: str | None) -> None:
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
            raise InvalidRequestError(
                f"URL should be an address such as http://127.0.0.1:8000, not {url[:80]!r}.", param="URL"
            )
        if key is not None and not (key.isascii() and key.isprintable()):
            raise InvalidRequestError("The API key should be printable ASCII.", param="--api-key-file")
        self._url = url.rstrip("/")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._opener = urllib.request.build_opener(_NoRedirects)
        self._request = urllib.request.Request(f"{self._url}/state", headers=headers)  # noqa: S310 - checked

    def state(self) -> ServerState:
        """Return the state of this moment.

        Raises:
            UnavailableError: nobody answers, or it is no server of ours.
        """
        from engine.contract.state import ServerState

        try:
            return ServerState.model_validate(self._answer())
        except ValidationError:
            raise UnavailableError(f"{self._url} is no server of this version of Nucleus.") from None

    def _answer(self) -> Any:
        try:
            with self._opener.open(self._request, timeout=_TIMEOUT_S) as answer:
                return json.loads(answer.read(_MOST_BYTES))
        except HTTPError as error:
            raise UnavailableError(f"{self._url} answered {error.code}: {_told(error)}") from None
        except URLError as error:
            reason = getattr(error.reason, "strerror", None) or error.reason
            raise UnavailableError(
                f"{self._url} cannot be reached: {reason}.", hint="Is it running? nucleus serve"
            ) from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise UnavailableError(f"{self._url} gave no answer: {error or type(error).__name__}.") from None


def _told(error: HTTPError) -> str:
    try:
        return str(json.loads(error.read(_MOST_BYTES))["error"]["message"])
    except (OSError, ValueError, KeyError, TypeError):
        return error.reason or "no reason given."


def _key(file: Path | None) -> str | None:
    if file is None:
        return os.environ.get(f"{ENV_PREFIX}API_KEY", "").partition(",")[0].strip() or None
    lines = (line.strip() for line in file.read_text(encoding="utf-8").splitlines())
    return next((line for line in lines if line and not line.startswith("#")), None)
