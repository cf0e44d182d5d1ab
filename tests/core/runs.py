"""Requests to an engine in front of the fake model, and what they give."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from engine.core.sequence import Prompt, Sequence, StopRules
from engine.sampling import SamplingParams
from tests.core.fake_backend import END, FakeBackend

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from engine.core.delta import Delta
    from engine.core.engine import Engine
    from engine.core.handle import RequestHandle

    Start = Callable[..., Engine]


FIRST, SECOND, THIRD = [1, 2, 3], [9, 8, 7, 6], [5, 5]


def prompt(
    tokens: list[int], n: int = 1, *, max_tokens: int = 6, seed: int = 1, owner: Hashable | None = None
) -> Prompt:
    """Make a prompt of one request whose choices draw with ``seed`` and report logprobs."""
    made = Prompt(object() if owner is None else owner, tokens, len(tokens))
    params = SamplingParams(seed=seed, logprobs=3)
    for choice in range(n):
        stop = StopRules(frozenset({END}))
        made.sequences.append(
            Sequence(made, choice, params, max_tokens=max_tokens, stop=stop, rng_stream=choice)
        )
    return made


async def read(run: RequestHandle) -> list[Delta]:
    return [delta async for delta in run]


def whole(deltas: list[Delta]) -> dict[int, tuple[Any, ...]]:
    """Return for each choice its text, scores, number of tokens and end."""
    found: dict[int, tuple[Any, ...]] = {}
    for delta in deltas:
        text, scores, n_tokens, logprob, ends = found.get(delta.choice, ("", (), 0, 0.0, ()))
        end = ((delta.finish_reason, str(delta.error)),) if delta.is_last else ()
        found[delta.choice] = (
            text + delta.text,
            scores + delta.scores,
            n_tokens + delta.n_tokens,
            logprob + delta.logprob,
            ends + end,
        )
    return found


def by_choice(deltas: list[Delta]) -> dict[int, list[Delta]]:
    """Deltas of each choice, in the order they came; equal only where every number is."""
    return {choice: [d for d in deltas if d.choice == choice] for choice in {d.choice for d in deltas}}


async def alone(start: Start, *args: object, **options: object) -> dict[int, list[Delta]]:
    """Return what a prompt gives on an engine of its own."""
    engine = start(FakeBackend(n_slots=8))
    return by_choice(await read(engine.submit([prompt(*args, **options)])))  # type: ignore[arg-type]


async def begin_closing(engine: Engine) -> asyncio.Future[None]:
    """Close from another thread, as that waits for the step under way; return when nothing more is taken."""
    closer = asyncio.ensure_future(asyncio.to_thread(engine.close))
    while engine.is_alive:  # noqa: ASYNC110 - closing gives no sign but this one
        await asyncio.sleep(0)
    return closer
