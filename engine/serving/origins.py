"""Which pages of the web may use a server that asks for no key."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING

from engine.errors import ForbiddenError

if TYPE_CHECKING:
    from collections.abc import Iterable

_HOST = re.compile(r"(?:\[(?P<v6>[0-9a-f:.]+)\]|(?P<name>[a-z0-9._-]+))(?::\d{1,5})?", re.IGNORECASE)
_WILDCARDS = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - addresses that are listened on, not chosen here


@dataclass(frozen=True, slots=True)
class OriginPolicy:
    """Refuses the requests that a foreign page makes in the browser of whoever visits it.

    Such a page reaches a server on the same machine in two ways: by a cross-origin request, which carries
    ``Origin``, or by letting its own name resolve to a local address (DNS rebinding), which shows in
    ``Host``.
    A key makes both harmless, because the page does not have it.

    Args:
        names: Host names, lower case, that are served beside the loopback ones; ``*`` serves any.
        serves_addresses: Whether any IP address may stand in ``Host``. It cannot be rebound; a server that
            listens on all addresses does not know all of its own.
        origins: Origins, such as ``https://app.example``, whose pages may call; ``*`` lets all.
    """

    names: frozenset[str] = frozenset()
    serves_addresses: bool = False
    origins: frozenset[str] = frozenset()

    @classmethod
    def of(
        cls, bind_host: str, allowed_hosts: Iterable[str] = (), origins: Iterable[str] = ()
    ) -> OriginPolicy:
        """Return the policy of a server.

        Args:
            bind_host: What it listens on.
            allowed_hosts: Further names that clients know it by.
            origins: Pages that may call it.
        """
        names = {name.lower().rstrip(".") for name in (bind_host, *allowed_hosts)}
        return cls(
            frozenset(names - _WILDCARDS),
            serves_addresses=bind_host in _WILDCARDS,
            origins=frozenset(origin.lower().rstrip("/") for origin in origins),
        )

    def check(self, hosts: list[str], origin: str | None) -> None:
        """Accept a request, or refuse it.

        Args:
            hosts: The values of its ``Host`` headers; none at all is an old client, and no browser.
            origin: The value of its ``Origin`` header.

        Raises:
            ForbiddenError: the server is not known by that name, or the page may not call it.
        """
        if len(hosts) > 1 or not all(map(self._serves, hosts)):
            raise ForbiddenError(
                f"This server is not known as {', '.join(hosts)[:80]!r}.",
                hint="--allowed-host adds a name; with an API key any will do.",
            )
        if origin is not None and not self._lets(origin.lower(), hosts):
            raise ForbiddenError(
                f"Pages of {origin[:80]!r} may not call this server.",
                hint="--cors-origin adds an origin.",
            )

    def _serves(self, host: str) -> bool:
        match = _HOST.fullmatch(host)
        if match is None:
            return False
        name = (match["v6"] or match["name"]).lower().rstrip(".")
        if "*" in self.names or name in self.names or name == "localhost" or name.endswith(".localhost"):
            return True
        try:
            address = ip_address(name)
        except ValueError:
            return False
        return self.serves_addresses or address.is_loopback

    def _lets(self, origin: str, hosts: list[str]) -> bool:
        is_own = [origin.partition("://")[2]] == [host.lower() for host in hosts]
        return is_own or origin in self.origins or "*" in self.origins
