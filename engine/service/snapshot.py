"""What the service has done and is doing, as numbers at one moment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from engine.core.engine import Engine
    from engine.histogram import Distribution, Histogram
    from engine.service.request_stats import RequestStats


@dataclass(frozen=True, slots=True)
class ServiceSnapshot:
    """The numbers of one moment; counters start at 0 when the service starts, and times are seconds.

    Attributes:
        model: The model's name in requests.
        is_alive: Whether requests are being served.
        outcomes: (door, outcome) -> requests that ended so; :data:`engine.service.request_stats.OUTCOMES`.
        durations: (operation, code of the error or "") -> how long requests took, up to their last token.
        first_token_seconds: Operation -> how long their first token took.
        token_seconds: Operation -> how long each later token of a choice took, on average over a request.
        queue_seconds: How long they waited for their first slot.
        prompt_tokens: Tokens of the prompts of requests that have ended or left; each prompt counts once.
        cached_tokens: Those of them that were in the cache.
        completion_tokens: Tokens generated, also for requests that have not ended.
        steps: Steps of the model.
        failed_steps: Steps that ended with an error.
        step_seconds: How long steps took.
        model_seconds: Of that, the model.
        sampling_seconds: Of that, drawing tokens, with the wait for masks.
        prefill_tokens: Tokens computed many at a time: of prompts, of texts that go on, and forced ones.
        decode_tokens: Tokens computed one at a time for a sequence, after they had been drawn.
        padding_tokens: Tokens that were decoded for nobody: a step is cheaper with them, or batch-invariant.
        drafted_tokens: Tokens that were guessed from the text before and decoded beside others.
        accepted_tokens: Those of them that were then drawn.
        forced_tokens: Tokens that the form of an answer left no choice about; nobody drew them.
        masked_steps: Steps in which somebody's answer had a form.
        late_masks: Those of them that waited for what the form allows.
        mask_seconds: How long they waited.
        preemptions: How many times a sequence has lost its slot.
        restored_prefixes: Prefixes of an earlier process that were found when this one started.
        graphs_reused: Steps for which llama.cpp used the graph of the step before again.
        prefix_bytes: Bytes of the prefixes on disk, of other models too.
        step_costs: Number of decodes -> what a step with so many, and no prompt, is expected to take now.
        attention_costs: Number of tokens -> what one decode takes besides, for so many before it.
        max_requests: Unfinished requests beyond which new ones are refused.
        requests_unfinished: Requests that wait or run.
        slots: Choices that can run at once.
        sequences_running: Choices that have a slot.
        sequences_waiting: Choices that wait for one.
        kv_cells: Tokens that the KV cache can hold.
        kv_cells_used: Tokens that it holds.
    """

    model: str
    is_alive: bool
    outcomes: Mapping[tuple[str, str], int]
    durations: Mapping[tuple[str, str], Distribution]
    first_token_seconds: Mapping[str, Distribution]
    token_seconds: Mapping[str, Distribution]
    queue_seconds: Distribution
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    steps: int
    failed_steps: int
    step_seconds: Distribution
    model_seconds: Distribution
    sampling_seconds: Distribution
    prefill_tokens: int
    decode_tokens: int
    padding_tokens: int
    drafted_tokens: int
    accepted_tokens: int
    forced_tokens: int
    masked_steps: int
    late_masks: int
    mask_seconds: float
    preemptions: int
    restored_prefixes: int
    graphs_reused: int
    prefix_bytes: int
    step_costs: Mapping[int, float]
    attention_costs: Mapping[int, float]
    max_requests: int
    requests_unfinished: int
    slots: int
    sequences_running: int
    sequences_waiting: int
    kv_cells: int
    kv_cells_used: int

    @classmethod
    def of(cls, engine: Engine, requests: RequestStats, *, model: str) -> ServiceSnapshot:
        """Return the numbers of this moment; it may be called from any thread."""
        totals, steps, backend = engine.totals, engine.step_totals, engine.backend
        return cls(
            model=model,
            is_alive=engine.is_alive,
            outcomes=dict(requests.outcomes),
            durations={key: histogram.read() for key, histogram in tuple(requests.durations.items())},
            first_token_seconds=_read(requests.first_token_seconds),
            token_seconds=_read(requests.token_seconds),
            queue_seconds=requests.queue_seconds.read(),
            prompt_tokens=totals.prompt_tokens,
            cached_tokens=totals.cached_tokens,
            completion_tokens=totals.completion_tokens,
            steps=steps.steps,
            failed_steps=steps.failed,
            step_seconds=steps.step_seconds.read(),
            model_seconds=steps.model_seconds.read(),
            sampling_seconds=steps.sampling_seconds.read(),
            prefill_tokens=steps.prefilled,
            decode_tokens=steps.decoded,
            padding_tokens=steps.padding,
            drafted_tokens=steps.drafted,
            accepted_tokens=steps.accepted,
            forced_tokens=steps.forced,
            masked_steps=steps.masked,
            late_masks=steps.late_masks,
            mask_seconds=steps.mask_seconds,
            preemptions=steps.preemptions,
            restored_prefixes=steps.restored,
            graphs_reused=steps.graphs_reused,
            prefix_bytes=engine.prefix_bytes,
            step_costs=engine.cost.table(backend.n_slots),
            attention_costs=engine.cost.attention_table(),
            max_requests=engine.max_requests,
            requests_unfinished=engine.n_requests,
            slots=backend.n_slots,
            sequences_running=engine.n_running,
            sequences_waiting=engine.n_waiting,
            kv_cells=backend.n_cells,
            kv_cells_used=backend.n_cells - engine.free_cells,
        )


def _read(histograms: Mapping[str, Histogram]) -> dict[str, Distribution]:
    return {key: histogram.read() for key, histogram in histograms.items()}
