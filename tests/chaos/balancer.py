"""A proxy in front of several servers, as a Service of Kubernetes is: each connection goes to the next."""

from __future__ import annotations

from collections import Counter

from typing_extensions import override

from tests.chaos.proxy import Proxy
from tests.chaos.trouble import Weather


class Balancer(Proxy):
    """Carries connections to its targets in turn, over a good network.

    Attributes:
        targets: The ports that new connections go to; those that are open stay where they are.
        carried: How many went to each.
    """

    def __init__(self) -> None:
        super().__init__(0, Weather())
        self.targets: list[int] = []
        self.carried: Counter[int] = Counter()

    @override
    def next_target(self) -> int:
        port = self.targets.pop(0)
        self.targets.append(port)
        self.carried[port] += 1
        return port
