"""A rolling restart: two servers behind a proxy are restarted in turn under load, and nothing is lost."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, contextmanager
from itertools import cycle
from typing import TYPE_CHECKING, Any

import pytest
from openai import AsyncOpenAI

from benchmarks.client import CallError, GrpcClient, HttpClient
from benchmarks.servers import HOST
from tests.chaos.balancer import Balancer
from tests.chaos.questions import WAYS, Question
from tests.kinds.files import GENERATING
from tests.process import nucleus

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
    from pathlib import Path

    from benchmarks.client import Client, Fields
    from tests.chaos.questions import Way
    from tests.process import Serving

NAME = "rolling"
QUIET = ("--threads", "1", "--speculation", "off", "--log-level", "warning")
PAUSE_SECONDS = 0.05  # between the questions of a client: processes start beside them, on few cores
REFUSALS = ("unavailable", "cancelled")  # the latter: a call that comes as gRPC closes its door
FIELDS: Fields = {"model": NAME, "prompt": "abc", "ignore_eos": True, "temperature": 1.0}
SHORT = [{**FIELDS, "seed": seed, "max_tokens": 8 + 8 * seed} for seed in range(4)]
LONG: Fields = {**FIELDS, "seed": 9, "max_tokens": 400, "stream": True}


class Replica:
    """A process that serves, and its place behind the proxies.

    Args:
        start: Returns the context of a new process.
        balancers: The proxies in front of the HTTP doors and of the gRPC doors.
    """

    def __init__(self, start: Callable[[], Any], balancers: tuple[Balancer, Balancer]) -> None:
        self._context, self._balancers = start(), balancers
        self.ports = (0, 0)

    async def start(self) -> None:
        """Start the process; return when it is ready."""
        self._serving: Serving = await asyncio.to_thread(self._context.__enter__)
        self.ports = (
            int(self._serving.address("HTTP").rpartition(":")[2]),
            int(self._serving.address("gRPC").rpartition(":")[2]),
        )

    def join(self) -> None:
        """Take new connections."""
        for balancer, port in zip(self._balancers, self.ports, strict=True):
            balancer.targets.append(port)

    def leave(self) -> None:
        """Take none any more."""
        for balancer, port in zip(self._balancers, self.ports, strict=True):
            balancer.targets.remove(port)

    async def end(self) -> None:
        """Ask the process to end, and wait until it has."""
        self._serving.signal()
        await asyncio.to_thread(self._serving.end)

    async def kill(self) -> None:
        """Make sure that it has ended."""
        await asyncio.to_thread(self._context.__exit__, None, None, None)


class Flow:
    """A client that asks one question after the other, and checks each answer.

    Args:
        ask: Asks one, and raises an exception if the answer is not whole and right.
    """

    def __init__(self, ask: Callable[[Question], Awaitable[None]]) -> None:
        self._ask = ask
        self.answered = self.refused = 0
        self._changed = asyncio.Condition()

    async def run(self, questions: Sequence[Question], until: asyncio.Event) -> None:
        for question in cycle(questions):
            while not await self._is_answered(question):
                self.refused += 1
            async with self._changed:
                self.answered += 1
                self._changed.notify_all()
            if until.is_set():
                return
            await asyncio.sleep(PAUSE_SECONDS)

    async def _is_answered(self, question: Question) -> bool:
        try:
            await self._ask(question)
        except CallError as error:
            if error.code not in REFUSALS:
                raise
            return False
        return True

    async def lap(self) -> None:
        """Wait until a question that is asked after this moment has been answered."""
        goal = self.answered + 2
        async with self._changed:
            await self._changed.wait_for(lambda: self.answered >= goal)


def plainly(client: Client, way: Way) -> Callable[[Question], Awaitable[None]]:
    async def ask(question: Question) -> None:
        events: list[Fields] = []
        try:
            async for event in client.events(question.fields_for(way)):
                events.append(client.read(event))  # noqa: PERF401 - what came before an error counts, too
        except CallError:
            assert not events, f"{way}: cut off behind {events}"
            raise
        assert question.is_answered_by(events), f"{way}: {events} in answer to {question}"

    return ask


def by_openai(client: AsyncOpenAI) -> Callable[[Question], Awaitable[None]]:
    """Ask as applications do: connections are kept, and the package tries again after a 503."""

    async def ask(question: Question) -> None:
        known = {name: value for name, value in question.fields.items() if name != "ignore_eos"}
        stream: Any = await client.completions.create(**known, stream=True, extra_body={"ignore_eos": True})
        text = "".join([chunk.choices[0].text async for chunk in stream])
        assert text == question.choices[0]["text"]

    return ask


async def begun(client: Client) -> tuple[Fields, AsyncGenerator[Any, None]]:
    """Return the first piece of a long stream, and the rest of it, which is to come."""
    events = client.events(LONG)
    return client.read(await anext(events)), events


async def whole(client: Client, first: Fields, events: AsyncGenerator[Any, None]) -> tuple[str, str]:
    """Read the rest of a long stream; return all its text, and why it ended.

    How many pieces there are is no matter: what comes while a client does not read comes together.
    """
    pieces = [first["choices"][0], *[client.read(event)["choices"][0] async for event in events]]
    return "".join(piece["text"] for piece in pieces), pieces[-1]["finish_reason"]


@pytest.fixture
def start(tmp_path: Path) -> Callable[[], Any]:
    model = GENERATING["spm"].write(tmp_path / f"{NAME}.gguf")
    environment = {"XDG_CACHE_HOME": str(tmp_path)}

    @contextmanager
    def start() -> Iterator[Serving]:
        with nucleus(model, "--alias", NAME, *QUIET, environment=environment) as serving:
            yield serving

    return start


async def test_nothing_is_lost_when_servers_are_restarted_in_turn(start: Callable[[], Any]) -> None:
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(Balancer())
        rpc = await stack.enter_async_context(Balancer())
        replicas = [Replica(start, (http, rpc)) for _ in range(4)]
        for replica in replicas:
            stack.push_async_callback(replica.kill)
        old, new = replicas[:2], replicas[2:]
        await asyncio.gather(*(replica.start() for replica in old))
        for replica in old:
            replica.join()
        questions = [await Question.ask(HttpClient(HOST, http.port), fields) for fields in SHORT]
        channel = GrpcClient(HOST, rpc.port)
        stack.push_async_callback(channel.close)
        flows = {
            way: Flow(plainly(HttpClient(HOST, http.port) if way.startswith("http") else channel, way))
            for way in WAYS
        }
        openai = await stack.enter_async_context(
            AsyncOpenAI(base_url=f"http://{HOST}:{http.port}/v1", api_key="none")
        )
        kept = Flow(by_openai(openai))
        is_over = asyncio.Event()
        async with asyncio.TaskGroup() as asking:
            for flow in (*flows.values(), kept):
                asking.create_task(flow.run(questions, is_over))
            for pair in zip(old, new, strict=True):
                await replace(*pair, [*flows.values(), kept])
            is_over.set()
    assert len(http.carried) == 4, "each process was asked"
    assert len(rpc.carried) > 1, "the channel has moved"
    assert flows["http"].refused == flows["http stream"].refused == 0
    assert all(flow.answered > 8 for flow in (*flows.values(), kept))


async def replace(old: Replica, new: Replica, flows: Sequence[Flow]) -> None:
    """Restart a server as Kubernetes does: its endpoint goes, then comes the signal; a new process starts."""
    starting = asyncio.create_task(new.start())
    old.leave()
    for flow in flows:
        await flow.lap()  # no new connection is on its way to the server any more
    staying: list[Client] = [HttpClient(HOST, old.ports[0]), GrpcClient(HOST, old.ports[1])]
    streams = [await begun(client) for client in staying]
    ending = asyncio.create_task(old.end())
    answers = [await whole(client, *stream) for client, stream in zip(staying, streams, strict=True)]
    assert answers[0] == answers[1]
    assert answers[0][1] == "length"
    await ending
    for client in staying:
        await client.close()
    for flow in flows:
        await flow.lap()  # the other server serves alone
    await starting
    new.join()
    for flow in flows:
        await flow.lap()
