"""More work than the engine can hold at once: everybody gets a turn, and nobody's answer is lost."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from engine.async_llm import AsyncLLM

if TYPE_CHECKING:
    from tests.doors import Answer, Door
    from tests.trace import Trace


async def test_a_user_with_many_requests_does_not_starve_another(door: Door, trace: Trace) -> None:
    ended: list[str] = []

    async def ask(user: str) -> None:
        await door.complete(prompt=f"Once upon a time, {user}", user=user, max_tokens=4)
        ended.append(user)

    many = [asyncio.create_task(ask("many")) for _ in range(24)]
    await trace.until("submit", 24)
    await ask("one")
    await asyncio.gather(*many)
    assert ended.index("one") < 16, "behind those that ran, and at most as many again"


async def test_a_user_who_comes_late_has_a_slot_at_once_and_no_answer_changes(door: Door) -> None:
    ends = {str(token): -100 for token in (0, 2)}

    async def ask(seed: int) -> Answer:
        return await door.complete(
            prompt="Once upon a time", user="many", seed=seed, max_tokens=40, logit_bias=ends, logprobs=1
        )

    alone = [(await ask(seed))["choices"] for seed in range(4)]
    many = [asyncio.create_task(ask(seed)) for seed in range(4)]
    await door.complete(prompt="The sky", user="one", max_tokens=1)
    await door.complete(prompt="The sea", user="one", max_tokens=2)
    assert not any(task.done() for task in many), "it waited until one of them had ended"
    assert [(await task)["choices"] for task in many] == alone


async def test_completions_that_outgrow_the_cache_end_as_long_as_they_were_asked_for() -> None:
    async with AsyncLLM(parallel=4, ctx_size=256) as llm:
        answers = await asyncio.gather(
            *(
                llm.complete(
                    prompt=f"Chapter {number}.",
                    max_tokens=80,
                    temperature=0.8,
                    frequency_penalty=0.5,
                    logprobs=1,
                    logit_bias=dict.fromkeys(llm.service.engine.backend.info.eog_tokens, -100),
                )
                for number in range(4)
            )
        )
        choices = [answer.choices[0] for answer in answers]
        assert [choice.finish_reason for choice in choices] == ["length"] * 4
        assert [answer.usage.completion_tokens for answer in answers] == [80] * 4
        for choice in choices:
            assert choice.logprobs is not None
            assert len(choice.logprobs.tokens) == 80
