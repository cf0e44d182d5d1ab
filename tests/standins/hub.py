"""A model hub on the loopback interface: as much of the real one's HTTP API as a download uses."""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Self
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from types import TracebackType

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_of_the_stand_in"  # noqa: S105 - opens nothing but this server


@dataclass(frozen=True, slots=True)
class Seen:
    """One request that reached the hub."""

    method: str
    path: str
    range: str | None
    """The Range header."""
    authorized: bool
    """Whether the request carried :data:`TOKEN`."""


@dataclass(slots=True)
class Repository:
    """What the hub holds under one ``user/repo``."""

    files: dict[str, bytes]
    gated: bool = False
    """Anyone may list it; only :data:`TOKEN` may download from it."""


@dataclass(slots=True)
class Hub:
    """The server. Use it as a context manager, and change its repositories whenever you like."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    cut_after: int | None = None
    """Cut the next download after so many bytes of its body."""
    failing: int | None = None
    """Answer everything with this status."""
    nonsense: bool = False
    """Answer the question for a listing with a web page."""
    seen: list[Seen] = field(default_factory=list)
    _server: ThreadingHTTPServer = field(init=False)
    _thread: threading.Thread = field(init=False)

    @property
    def url(self) -> str:
        """The hub's address, as HF_ENDPOINT wants it."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        hub = self

        class Handler(_Handler):
            def setup(self) -> None:
                self.hub = hub
                super().setup()

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), name="hub")
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    # One connection per request: an idle one would outlive the test that opened it.
    protocol_version = "HTTP/1.0"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name for it
        """Say nothing; the tests read :attr:`Hub.seen`."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    @property
    def _authorized(self) -> bool:
        return self.headers["Authorization"] == f"Bearer {TOKEN}"

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.seen.append(Seen(self.command, path, self.headers["Range"], self._authorized))
        if self.hub.failing is not None:
            self._refuse(self.hub.failing, "", "Out of order")
            return
        api, *words = path.removeprefix("/").split("/")
        if api == "api":
            self._list("/".join(words[1:3]))
        else:
            self._resolve(f"{api}/{words[0]}", "/".join(words[3:]))

    def _find(self, repo: str) -> Repository | None:
        found = self.hub.repositories.get(repo)
        if found is None and self._authorized:
            self._refuse(404, "RepoNotFound", "Repository not found")
        elif found is None:
            self._refuse(401, "", "Invalid username or password.")  # what the real hub says to strangers
        return found

    def _list(self, repo: str) -> None:
        if self.hub.nonsense:
            self._send(200, b"<h1>Welcome to the hotel's network</h1>", {})
        elif found := self._find(repo):
            siblings = [{"rfilename": name} for name in found.files]
            self._send(200, json.dumps({"id": repo, "sha": COMMIT, "siblings": siblings}).encode(), {})

    def _resolve(self, repo: str, name: str) -> None:
        found = self._find(repo)
        if found is None:
            return
        if found.gated and not self._authorized:
            self._refuse(401, "GatedRepo", f"Access to model {repo} is restricted.")
        elif name not in found.files:
            self._refuse(404, "EntryNotFound", "Entry not found")
        else:
            self._send_file(found.files[name])

    def _send_file(self, body: bytes) -> None:
        headers = {
            "ETag": f'"{hashlib.sha256(body).hexdigest()}"',
            "X-Repo-Commit": COMMIT,
            "Accept-Ranges": "bytes",
        }
        if (wanted := self.headers["Range"]) is None:
            self._send(200, body, headers)
            return
        start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        self._send(206, body[start:], headers)

    def _refuse(self, status: int, code: str, message: str) -> None:
        self._send(status, b"", {"X-Error-Code": code, "X-Error-Message": message})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if "ETag" in headers and self.hub.cut_after is not None:
            body, self.hub.cut_after = body[: self.hub.cut_after], None
        self.wfile.write(body)
