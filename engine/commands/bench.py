"""``nucleus bench``."""

from __future__ import annotations

import asyncio
from contextlib import closing
from dataclasses import asdict, dataclass
from random import Random
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.commands.options import SettingsOptions, takes
from engine.commands.terminal import columns, quiet_logging, write_json
from engine.errors import InvalidRequestError
from engine.loading.options import EngineOptions

if TYPE_CHECKING:
    from engine.async_llm import AsyncLLM

_TEXT = "The quick brown fox jumps over the lazy dog near the bank of a river; then it is gone."
_SAMPLING: dict[str, Any] = {
    "temperature": 0.8,
    "top_p": 0.95,
    "presence_penalty": 0.5,
    "frequency_penalty": 0.5,
}
_MAKES_NO_DIFFERENCE = ("alias", "parallel", "max_requests", "max_logprobs", "max_seconds")
_MOST_STREAMS = 64
_STREAMS = {str(number): number for number in range(1, _MOST_STREAMS + 1)}


@dataclass(frozen=True, slots=True)
class Load:
    """What one number of streams was like: tokens a second of all together, times in milliseconds."""

    streams: int
    tokens_per_second: float
    first_token_ms: float
    next_token_ms: float


@takes(options=SettingsOptions(EngineOptions, argument="model", omit=_MAKES_NO_DIFFERENCE))
def bench(
    options: EngineOptions,
    *,
    streams: Annotated[
        str, typer.Option("--streams", metavar="N,N,...", help="Numbers of streams at once.")
    ] = "1,4,8,16",
    prompt_tokens: Annotated[int, typer.Option(min=1, max=100_000, help="Tokens of each prompt.")] = 64,
    max_tokens: Annotated[int, typer.Option(min=2, max=100_000, help="Tokens of each answer.")] = 64,
    rounds: Annotated[int, typer.Option(min=1, max=100, help="Rounds, of which medians are shown.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", metavar="", help="Print JSON.")] = False,
) -> None:
    """Measure how fast a model answers on this machine, with penalties, temperature and top-p.

    nucleus bench

    nucleus bench my-model.gguf --streams 1,8 --prompt-tokens 512
    """
    from engine.async_llm import AsyncLLM

    quiet_logging()
    widths = _numbers(streams)
    with closing(AsyncLLM(**options.model_dump() | {"parallel": max(widths)})) as llm:
        found = asyncio.run(_measure(llm, widths, prompt_tokens, max_tokens, rounds))
    if as_json:
        write_json([asdict(load) for load in found])
        return
    rows = [("streams", "tokens/s", "first token, ms", "next token, ms")]
    rows += [
        (
            f"{load.streams}",
            f"{load.tokens_per_second:.1f}",
            f"{load.first_token_ms:.0f}",
            f"{load.next_token_ms:.1f}",
        )
        for load in found
    ]
    print("\n".join(columns(rows)))


async def _measure(
    llm: AsyncLLM, widths: list[int], prompt_tokens: int, max_tokens: int, rounds: int
) -> list[Load]:
    words = (await llm.tokenize(_TEXT)).tokens
    loads: dict[int, list[Load]] = {width: [] for width in widths}
    # Drawn at random, so that no prompt begins like one that is in the cache; no need to be hard to guess.
    drawing = Random(0)  # noqa: S311
    for _ in range(rounds):
        for width in widths:  # in turns, so that a slow moment of the machine hurts all alike
            prompts = [drawing.choices(words, k=prompt_tokens) for _ in range(width)]
            loads[width].append(await _run(llm, prompts, max_tokens))
    return [
        Load(
            width,
            median(load.tokens_per_second for load in measured),
            median(load.first_token_ms for load in measured),
            median(load.next_token_ms for load in measured),
        )
        for width, measured in loads.items()
    ]


async def _run(llm: AsyncLLM, prompts: list[list[int]], max_tokens: int) -> Load:
    began = perf_counter()
    times = await asyncio.gather(
        *(_times(llm, prompt, max_tokens, seed) for seed, prompt in enumerate(prompts))
    )
    seconds = perf_counter() - began
    firsts = [first - began for first, _ in times]
    gaps = [(last - first) / (max_tokens - 1) for first, last in times]
    return Load(len(prompts), len(prompts) * max_tokens / seconds, 1e3 * median(firsts), 1e3 * median(gaps))


async def _times(llm: AsyncLLM, prompt: list[int], max_tokens: int, seed: int) -> tuple[float, float]:
    """Return when the first and the last piece of an answer came."""
    first = 0.0
    chunks = llm.stream(prompt=prompt, max_tokens=max_tokens, ignore_eos=True, seed=seed, **_SAMPLING)
    async for _ in chunks:
        first = first or perf_counter()
    return first, perf_counter()


def _numbers(text: str) -> list[int]:
    words = [word.strip() for word in text.split(",")]
    if not all(word in _STREAMS for word in words):
        raise InvalidRequestError(
            f"--streams should be numbers from 1 to {_MOST_STREAMS}, separated by commas, not {text!r:.80}.",
            param="--streams",
        )
    return [_STREAMS[word] for word in words]
