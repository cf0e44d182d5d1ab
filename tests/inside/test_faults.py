"""A fault that one request meets is told to that request, at every door, and hurts nobody else."""

from __future__ import annotations

import asyncio
from itertools import cycle
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from engine.backend.base import BackendError
from engine.contract.responses import Completion, CompletionChunk
from engine.core.scheduler import Scheduler
from engine.core.sequence import Sequence
from engine.core.text import TextStream
from engine.service import response
from engine.service.logprobs import logprobs_of
from engine.service.response import CompletionBuilder
from engine.serving import wire
from tests.core.fake_backend import N_VOCAB
from tests.doors import Door, GrpcDoor, HttpDoor, PythonDoor
from tests.inside.outcomes import told

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.core.delta import TokenLogprob
    from tests.doors import Answer
    from tests.quick import AnyText

TEXT = "a secret of another request"
STEPS = 4
SOUND: Answer = {"prompt": "ABC", "max_tokens": STEPS, "seed": 1, "logprobs": 2, "echo": True}
FAULTY: Answer = {**SOUND, "prompt": "XYZ", "seed": 666, "stop": ["never"], "min_tokens": 2}
KINDS: list[type[Exception]] = [ValueError, MemoryError, BackendError]


class FaultySampler:
    """The engine's sampler, with a fault for the request whose seed is 666.

    Args:
        sampler: The sampler.
        kind: What it raises.
        opens: At which of its openings, and each as many later.
        draws: Whether it raises when it draws.
    """

    def __init__(self, sampler: Any, kind: type[Exception], *, opens: int = 0, draws: bool = False) -> None:
        self._sampler, self._kind, self._opens, self._draws = sampler, kind, opens, draws
        self._faulty: set[int] = set()
        self._opened = 0

    def open(self, slot: int, params: Any, **rest: Any) -> None:
        self._faulty.discard(slot)
        if params.seed == 666:
            self._faulty.add(slot)
            self._opened += 1
            if self._opens and self._opened % self._opens == 0:
                raise self._kind(TEXT)
        self._sampler.open(slot, params, **rest)

    def sample(self, logits: Any, slots: Any, rows: Any = None) -> Any:
        if self._draws and self._faulty.intersection(slots.tolist()):
            raise self._kind(TEXT)
        return self._sampler.sample(logits, slots, rows)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sampler, name)


class Injection(NamedTuple):
    """Puts one fault into the server, for nobody but the request ``FAULTY``."""

    patch: pytest.MonkeyPatch
    door: Door
    kind: type[Exception]

    def method(self, kind: type, name: str, is_faulty: Callable[..., bool]) -> None:
        """Let a method raise where its arguments are those of the request."""
        sound = getattr(kind, name)

        def faulty(*args: Any, **kwargs: Any) -> Any:
            if is_faulty(*args):
                raise self.kind(TEXT)
            return sound(*args, **kwargs)

        self.patch.setattr(kind, name, faulty)

    def sampler(self, **fault: Any) -> None:
        answers = self.door.service.engine._steps._answers
        self.patch.setattr(answers, "_sampler", FaultySampler(answers._sampler, self.kind, **fault))

    def scoring(self) -> None:
        answers = self.door.service.engine._steps._answers
        sound = answers._score_span

        def faulty(span: Any, rows: Any) -> None:
            if is_faulty_sequence(span.sequence):
                raise self.kind(TEXT)
            sound(span, rows)

        self.patch.setattr(answers, "_score_span", faulty)


def is_faulty_sequence(sequence: Sequence, *_rest: object) -> bool:
    return sequence.params.seed == 666


def starts_faulty(scores: tuple[TokenLogprob, ...]) -> bool:
    return len(scores) > 1 and scores[1].token == ord("X") % (N_VOCAB - 2) + 1


def has_stop_strings(text: TextStream, *_rest: object) -> bool:
    return text._matcher is not None


PLACES: dict[str, Callable[[Injection], None]] = {
    "queueing": lambda to: to.method(
        Scheduler, "submit", lambda _self, prompt: is_faulty_sequence(prompt.sequences[0])
    ),
    "opening its slot": lambda to: to.sampler(opens=1),
    "opening it again": lambda to: to.sampler(opens=2),
    "drawing": lambda to: to.sampler(draws=True),
    "scoring its prompt": lambda to: to.scoring(),
    "taking a token": lambda to: to.method(Sequence, "take", is_faulty_sequence),
    "advancing its text": lambda to: to.method(Sequence, "tell", is_faulty_sequence),
    "its text": lambda to: to.method(TextStream, "push", has_stop_strings),
    "the end of its text": lambda to: to.method(TextStream, "finish", has_stop_strings),
    "its choices": lambda to: to.method(
        CompletionBuilder, "_choice", lambda builder, _delta: builder.request.seed == 666
    ),
    "its logprobs": lambda to: to.patch.setattr(
        response, "logprobs_of", raising(to.kind, logprobs_of, starts_faulty)
    ),
}


def raising(
    kind: type[Exception], sound: Callable[..., Any], when: Callable[..., bool]
) -> Callable[..., Any]:
    def faulty(first: Any, *rest: Any, **named: Any) -> Any:
        if when(first):
            raise kind(TEXT)
        return sound(first, *rest, **named)

    return faulty


@pytest.mark.parametrize(("place", "kind"), [*zip(PLACES, cycle(KINDS), strict=False)])
async def test_a_fault_of_one_request_is_its_own(
    quick: Door, backend: AnyText, monkeypatch: pytest.MonkeyPatch, place: str, kind: type[Exception]
) -> None:
    neighbour = PythonDoor(quick.service)
    alone = await neighbour.complete(**SOUND)
    PLACES[place](Injection(monkeypatch, quick, kind))
    for ask in (quick.complete, quick.stream):
        backend.hold()
        beside = [asyncio.create_task(neighbour.complete(**SOUND)) for _ in range(2)]
        await backend.next_decode()
        failing = asyncio.create_task(told(ask(**FAULTY)))
        # One that cannot be queued may be gone before it is seen to wait.
        while quick.service.engine.n_requests < 3 and not failing.done():  # noqa: ASYNC110
            await asyncio.sleep(0)
        backend.open_gate()
        failure = await failing
        assert failure.code == "internal_error"
        assert TEXT not in failure.message
        for answer in await asyncio.gather(*beside):
            assert answer["choices"] == alone["choices"]
    assert quick.service.is_alive
    assert (await quick.complete(**SOUND))["choices"] == alone["choices"]
    assert quick.service.engine.n_requests == 0


@pytest.mark.parametrize("long", [False, True], ids=["in the loop", "in a thread"])
async def test_what_fails_before_the_engine_is_told_too(
    quick: Door, backend: AnyText, monkeypatch: pytest.MonkeyPatch, long: bool
) -> None:
    def fail(*_args: object, **_kwargs: object) -> None:
        raise MemoryError(TEXT)

    monkeypatch.setattr(backend, "tokenize", fail)
    for ask in (quick.complete, quick.stream):
        failure = await told(ask(prompt="A" * (5000 if long else 5)))
        assert failure.code == "internal_error"
        assert TEXT not in failure.message
    if isinstance(quick, HttpDoor):
        answer = await quick.routes.post("/tokenize", json={"prompt": "A"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")
    else:
        assert (await told(quick.tokenize(prompt="A"))).code == "internal_error"
    monkeypatch.undo()
    assert (await quick.complete(**SOUND))["choices"]


async def test_an_answer_that_cannot_be_written_is_told(quick: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: object, **_kwargs: object) -> None:
        raise MemoryError(TEXT)

    if isinstance(quick, HttpDoor):
        for kind in (Completion, CompletionChunk):
            monkeypatch.setattr(kind, "model_dump_json", fail)
    elif isinstance(quick, GrpcDoor):
        for name in ("completion_message", "chunk_message"):
            monkeypatch.setattr(wire, name, fail)
    else:
        pytest.skip("nothing is written")
    for ask in (quick.complete, quick.stream):
        failure = await told(ask(**SOUND))
        assert failure.code == "internal_error"
        assert TEXT not in failure.message
    monkeypatch.undo()
    assert (await quick.complete(**SOUND))["choices"]
    assert quick.service.engine.n_requests == 0
