"""Where a door listens: at a port of an address, or at a Unix socket."""

from __future__ import annotations

import os
import socket
import stat
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from engine.errors import AddressError

if TYPE_CHECKING:
    from collections.abc import Iterator

UNIX_PREFIX = "unix:"
_BACKLOG = 2048


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What a door listens on.

    Attributes:
        host: Name or address; empty for a Unix socket.
        port: Port of it; 0 takes a free one.
        path: The Unix socket's file; empty for a port.
        mode: Permissions of that file.
        flag: The flag that chooses another one, for errors.
    """

    host: str = "127.0.0.1"
    port: int = 0
    path: str = ""
    mode: int = 0o600
    flag: str = "port"

    @classmethod
    def of(cls, host: str, port: int | str, *, flag: str, mode: int = 0o600) -> Endpoint:
        """Return the endpoint of a port, or of ``unix:/path``."""
        if isinstance(port, str):
            return cls("", 0, port.removeprefix(UNIX_PREFIX), mode, flag)
        return cls(host, port, "", mode, flag)

    def at(self, host: str, port: int | None = None) -> Endpoint:
        """Return the same at another address."""
        return replace(self, host=host, port=self.port if port is None else port)

    def listen(self) -> socket.socket:
        """Return a listening socket.

        Raises:
            AddressError: the address is taken or does not exist.
        """
        try:
            return self._listen_at_path() if self.path else self._listen_at_port()
        except OSError as error:
            # Python adds the address to what the system says.
            reason = (error.strerror or str(error)).partition(" (while attempting")[0]
            raise AddressError(
                f"Cannot listen on {self}: {reason}.", hint=f"Choose another {self.flag}."
            ) from None

    @contextmanager
    def creating_file(self) -> Iterator[None]:
        """Let the Unix socket that is made in this context have its permissions from the first moment.

        The umask is the process's: nothing else may create files meanwhile.
        """
        if not self.path:
            yield
            return
        before = os.umask(0o777 & ~self.mode)
        try:
            yield
        finally:
            os.umask(before)

    def remove_file(self) -> None:
        """Remove the Unix socket's file, if there is one."""
        if self.path:
            with suppress(FileNotFoundError):
                os.unlink(self.path)

    def __str__(self) -> str:
        if self.path:
            return f"{UNIX_PREFIX}{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def _listen_at_port(self) -> socket.socket:
        found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        return socket.create_server(found[0][4][:2], family=found[0][0], backlog=_BACKLOG)

    def _listen_at_path(self) -> socket.socket:
        self._remove_stale_file()
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with self.creating_file():
                listening.bind(self.path)
            listening.listen(_BACKLOG)
        except OSError:
            listening.close()
            raise
        return listening

    def _remove_stale_file(self) -> None:
        """Remove the socket of a process that is gone; one that somebody listens on is taken."""
        try:
            if not stat.S_ISSOCK(os.stat(self.path).st_mode):
                return  # bind refuses it
        except FileNotFoundError:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.connect(self.path)
            except ConnectionRefusedError:
                os.unlink(self.path)
