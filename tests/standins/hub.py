"""A model hub on the loopback interface: as much of the real one's HTTP API as downloads use, and faults."""

from __future__ import annotations

import hashlib
import json
import sys
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self
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
    commit: str = COMMIT
    sizes: dict[str, int] = field(default_factory=dict)
    """Sizes that the listing gives instead of the true ones."""
    digests: dict[str, str] = field(default_factory=dict)
    """The same for digests."""
    in_git: bool = False
    """Whether its files are small ones, of which git has the SHA-1."""
    licence: str | None = None

    def listed(self, name: str) -> dict[str, Any]:
        """Return what the listing says of a file."""
        body = self.files[name]
        size, sha256 = self.sizes.get(name, len(body)), hashlib.sha256(body).hexdigest()
        entry: dict[str, Any] = {
            "rfilename": name,
            "size": size,
            "blobId": self.digests.get(name, sha1(body)),
        }
        if not self.in_git:
            entry["lfs"] = {"size": size, "sha256": self.digests.get(name, sha256), "pointerSize": 134}
        return entry


def sha1(body: bytes) -> str:
    """Return the name that git has for a file."""
    return hashlib.sha1(b"blob %d\0%b" % (len(body), body), usedforsecurity=False).hexdigest()


@dataclass(slots=True)
class Hub:
    """The server. Use it as a context manager, and change its repositories whenever you like."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    cut_after: int | None = None
    """Cut the next download after so many bytes of its body."""
    stall_after: int | None = None
    """The same, but leave the connection open until the hub is stopped."""
    drips: bool = False
    """Send the beginning of a file, where only that is asked for, byte by byte."""
    endless: bool = False
    """Go on behind the end of a file, for as long as somebody reads; no header says how long the body is."""
    ignores_ranges: bool = False
    elsewhere: str = ""
    """The address of another hub that has the files; empty for this one."""
    failing: int | None = None
    """Answer everything with this status."""
    failing_files: int | None = None
    """Answer requests for files with this status."""
    nonsense: bool = False
    """Answer the question for a listing with a web page."""
    lists_names_alone: bool = False
    """List neither sizes nor digests, as some mirrors do."""
    etag: str | None = None
    """The ETag of every file; None for its SHA-256."""
    seen: list[Seen] = field(default_factory=list)
    stalled: threading.Event = field(default_factory=threading.Event)
    """Set when a download has been stalled."""
    _server: _Server = field(init=False)
    _thread: threading.Thread = field(init=False)
    stopping: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        """The hub's address, as HF_ENDPOINT wants it."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def fetched(self) -> list[Seen]:
        """The requests for files."""
        return [seen for seen in self.seen if seen.method == "GET" and "/resolve/" in seen.path]

    def __enter__(self) -> Self:
        hub = self

        class Handler(_Handler):
            def setup(self) -> None:
                self.hub = hub
                super().setup()

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), name="hub")
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that have gone."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


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
            names = self.hub.lists_names_alone or "blobs=" not in self.path
            siblings = [{"rfilename": name} if names else found.listed(name) for name in found.files]
            card = {"cardData": {"license": found.licence}} if found.licence else {}
            answer = {"id": repo, "sha": found.commit, "siblings": siblings, **card}
            self._send(200, json.dumps(answer).encode(), {})

    def _resolve(self, repo: str, name: str) -> None:
        found = self._find(repo)
        if found is None:
            return
        if found.gated and not self._authorized:
            self._refuse(401, "GatedRepo", f"Access to model {repo} is restricted.")
        elif name not in found.files:
            self._refuse(404, "EntryNotFound", "Entry not found")
        elif self.hub.failing_files is not None:
            self._refuse(self.hub.failing_files, "", "Out of order")
        elif self.hub.elsewhere:
            self._send(302, b"", {"Location": f"{self.hub.elsewhere}{self.path}"})
        else:
            self._send_file(found.files[name], found.commit)

    def _send_file(self, body: bytes, commit: str) -> None:
        headers = {
            "ETag": f'"{self.hub.etag or hashlib.sha256(body).hexdigest()}"',
            "X-Repo-Commit": commit,
            "Accept-Ranges": "bytes",
        }
        wanted = self.headers["Range"]
        if wanted is None or self.hub.ignores_ranges:
            self._send(200, body, headers)
            return
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        start, end = int(first), min(int(last) + 1, len(body)) if last else len(body)
        if start >= len(body):
            self._send(416, b"", {"Content-Range": f"bytes */{len(body)}"})
            return
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(body)}"
        self._send(206, body[start:end], headers)

    def _refuse(self, status: int, code: str, message: str) -> None:
        self._send(status, b"", {"X-Error-Code": code, "X-Error-Message": message})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        is_download = "ETag" in headers and self._asks_to_the_end
        if not (is_download and self.hub.endless):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if is_download:
            self._send_body(body)
        elif "ETag" in headers and self.hub.drips:
            for i in range(len(body)):
                self.wfile.write(body[i : i + 1])
                self.hub.stopping.wait(0.01)
        else:
            self.wfile.write(body)

    @property
    def _asks_to_the_end(self) -> bool:
        """Whether the request is for a file, or its rest; a glance at its beginning says where to end."""
        return self.command == "GET" and (self.headers["Range"] or "-").endswith("-")

    def _send_body(self, body: bytes) -> None:
        hub = self.hub
        if hub.cut_after is not None:
            body, hub.cut_after = body[: hub.cut_after], None
        if hub.stall_after is not None:
            body, hub.stall_after = body[: hub.stall_after], None
            self.wfile.write(body)
            hub.stalled.set()
            hub.stopping.wait()
            return
        self.wfile.write(body)
        while hub.endless and not hub.stopping.is_set():
            self.wfile.write(bytes(1 << 16))
