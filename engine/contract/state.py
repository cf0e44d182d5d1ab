"""What a server is doing at one moment, in numbers: never a text."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from engine.contract.responses import Answer, Count


class RunState(Answer):
    """Tokens that follow each other in the KV cache."""

    part: Count = Field(description="Slots that share the tokens name the same part.")
    tokens: Count


class SlotState(Answer):
    """A choice that has a slot."""

    slot: Count
    phase: Literal["prefill", "fork", "decode", "finished"] = Field(
        description="`prefill`: its prompt is computed; `fork`: another choice computes it; `decode`: it "
        "gets a token in each step."
    )
    prompt_tokens: Count
    generated_tokens: Count
    max_tokens: Count
    preempted: Count = Field(description="How often it has lost its slot, and has come back.")
    runs: list[RunState] = Field(description="What the KV cache holds of it, from its first token on.")


class KvState(Answer):
    """The KV cache."""

    cells: Count = Field(description="Tokens that it holds at most; a shared one counts once.")
    used: Count
    deferred: Count = Field(description="Cells of those in use that nobody needs, and that are freed later.")
    saved_prefixes: Count = Field(description="Prefixes that are kept in memory outside of it.")


class ServerState(Answer):
    """What the server is doing."""

    model: str
    uptime_seconds: float = Field(description="Seconds since the model was loaded.")
    n_slots: Count = Field(description="Choices that run at once at most.")
    slots: list[SlotState] = Field(description="The choices that run.")
    waiting: Count = Field(description="Choices that wait for a slot.")
    kv: KvState
    totals: dict[str, int] = Field(
        description="Since the start: requests, prompt_tokens, cached_tokens, completion_tokens, steps, "
        "drafted_tokens, accepted_tokens and forced_tokens."
    )
    step_ms: dict[str, float] = Field(
        description="Tokens decoded in one step -> the milliseconds that such a step is expected to take now."
    )
