"""What the service has done and is doing, as numbers at one moment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class ServiceSnapshot:
    """The numbers of one moment; counters start at 0 when the service starts.

    Attributes:
        is_alive: Whether requests are being served.
        requests: Requests that have ended or left.
        prompt_tokens: Tokens of their prompts; each prompt counts once.
        cached_tokens: Those of them that were in the cache.
        completion_tokens: Tokens generated, also for requests that have not ended.
        steps: Steps of the model.
        padding_tokens: Tokens that were decoded for nobody: a step is cheaper with them, or batch-invariant.
        drafted_tokens: Tokens that were guessed from the text before and decoded beside others.
        accepted_tokens: Those of them that were then drawn.
        forced_tokens: Tokens that the form of an answer left no choice about; nobody drew them.
        masked_steps: Steps in which somebody's answer had a form.
        late_masks: Those of them that waited for what the form allows.
        restored_prefixes: Prefixes of an earlier process that were found when this one started.
        graphs_reused: Steps for which llama.cpp used the graph of the step before again.
        prefix_bytes: Bytes of the prefixes on disk, of other models too.
        step_seconds: Number of decodes -> what a step with so many, and no prompt, is expected to take now.
        attention_seconds: Number of tokens -> what one decode takes besides, for so many before it.
        requests_unfinished: Requests that wait or run.
        sequences_running: Choices that have a slot.
        sequences_waiting: Choices that wait for one.
        kv_cells: Tokens that the KV cache holds.
        kv_cells_free: Tokens for which it has room.
    """

    is_alive: bool
    requests: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    steps: int
    padding_tokens: int
    drafted_tokens: int
    accepted_tokens: int
    forced_tokens: int
    masked_steps: int
    late_masks: int
    restored_prefixes: int
    graphs_reused: int
    prefix_bytes: int
    step_seconds: Mapping[int, float]
    attention_seconds: Mapping[int, float]
    requests_unfinished: int
    sequences_running: int
    sequences_waiting: int
    kv_cells: int
    kv_cells_free: int
