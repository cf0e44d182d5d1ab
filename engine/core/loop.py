"""The step: plan, decode, sample, advance."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from engine.backend.base import BackendError, Batch
from engine.core.calibration import calibrate
from engine.core.phases import Phase
from engine.core.policy import DEFAULT_POLICY, SchedulingPolicy
from engine.core.scheduler import Scheduler
from engine.core.sequence import TokenLogprob
from engine.errors import EngineError, InternalError
from engine.kvcache.host_cache import HostPrefixCache
from engine.kvcache.operations import Copy, DeferFree, Drop, FreeDeferred, Restore, Save, Truncate
from engine.kvcache.slots import Slots
from engine.sampling import RowStatus, Sampler

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    from numpy.typing import NDArray

    from engine.backend.base import Backend, SavedPrefix
    from engine.core.plan import Plan, Span
    from engine.core.sequence import Delta, Prompt, Sequence
    from engine.core.step_cost import StepCost
    from engine.kvcache.operations import Operation
    from engine.sampling import Draws

    Alternatives = tuple[tuple[int, float], ...]

log = logging.getLogger("nucleus.loop")


class Output(NamedTuple):
    """What one step has for one request."""

    owner: Hashable
    delta: Delta


@dataclass(slots=True)
class StepTotals:
    """What all steps had together."""

    steps: int = 0
    padding: int = 0
    """Tokens that were decoded for nobody."""
    graphs_reused: int = 0
    """Steps for which the backend prepared nothing anew."""


class StepLoop:
    """Everything that the engine thread does, one step at a time; it knows no threads but the sampler's.

    Args:
        backend: The model.
        max_logprobs: Most alternatives that a request may ask for.
        threads: How many threads share the rows of a step while they are sampled.
        cost: What steps cost; by default all tokens cost the same until steps show otherwise.
        policy: The numbers that the scheduler and the cache decide by.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        max_logprobs: int,
        threads: int = 1,
        cost: StepCost | None = None,
        policy: SchedulingPolicy = DEFAULT_POLICY,
    ) -> None:
        self._backend = backend
        self._batch = Batch(backend.n_batch)
        self._sampler = Sampler(
            backend.info.n_vocab, backend.n_slots, max_logprobs=max_logprobs, threads=threads
        )
        self.cost = cost or calibrate(backend, seconds=0)
        self._slots = Slots(
            backend.n_slots,
            backend.n_cells,
            HostPrefixCache(backend.n_cells, min_new_tokens=policy.min_new_tokens, max_cost=policy.max_cost),
            prefix_cache=backend.prefix_cache,
            keeps_batch_invariant=backend.batch_invariance.widest > 0,
        )
        self._saved: dict[int, SavedPrefix] = {}
        self.totals = StepTotals()
        self._reused_before = backend.n_graphs_reused  # while the model was loaded
        self.scheduler = Scheduler(
            self._slots,
            backend.n_batch,
            cost=self.cost,
            scored=backend.n_scored,
            batch_invariance=backend.batch_invariance,
            policy=policy,
        )

    def submit(self, prompt: Prompt) -> None:
        """Queue all choices of a prompt."""
        self.scheduler.submit(prompt)

    def cancel(self, owner: Hashable) -> None:
        """Drop a request, wherever it stands."""
        self.scheduler.cancel(owner)

    def step(self) -> list[Output]:
        """Give every running sequence one token, and some waiting prompts a part of their prefill."""
        plan = self.scheduler.plan()
        try:
            self._prepare(plan)
            logits = self._decode(plan)
        except Exception as error:
            log.exception("a step failed")
            return self._fail_running(error)
        return self._score(plan, logits) + self._sample(plan, logits)

    def _prepare(self, plan: Plan) -> None:
        for operation in plan.cache:
            self._carry_out(operation)
        for sequence in plan.admitted:
            try:
                self._open(sequence)
            except Exception:
                log.exception("a sequence could not be opened")
                self._sampler.close(sequence.slot)  # so its first draw fails, and nobody else's

    def _open(self, sequence: Sequence) -> None:
        self._sampler.open(
            sequence.slot,
            sequence.sampling,
            stream=sequence.rng_stream,
            prompt=sequence.prompt.tokens,
            generated=sequence.generated,
        )

    def _carry_out(self, operation: Operation) -> None:
        match operation:
            case Copy(source, target, length):
                self._backend.copy(source, target, length)
            case Truncate(slot, length):
                self._backend.truncate(slot, length)
            case DeferFree(slot):
                self._backend.defer_free(slot)
            case FreeDeferred():
                self._backend.free_deferred()
            case Save(slot, length, entry_id):
                self._saved[entry_id] = self._backend.save(slot, length)
            case Restore(entry_id, slot, length):
                self._backend.restore(slot, self._saved[entry_id], length)
            case Drop(entry_id):
                self._saved.pop(entry_id, None)  # or a failure came before it was saved

    def _decode(self, plan: Plan) -> NDArray[np.float32]:
        n_decodes = len(plan.decodes)
        if not (n_decodes or plan.prompts):
            return np.empty((0, self._backend.info.n_vocab), np.float32)
        self._fill(plan)
        began = time.perf_counter()
        logits = self._backend.decode(self._batch)
        seconds = time.perf_counter() - began
        self._note(plan, seconds)
        for span in plan.prompts:
            for fork in span.draws[1:]:
                self._backend.copy(span.sequence.slot, fork.slot, span.end)
        self.scheduler.computed(plan)
        return logits

    def _note(self, plan: Plan, seconds: float) -> None:
        """Learn what a step took."""
        n_decodes, n_prompt_tokens = len(plan.decodes), self._batch.size - len(plan.decodes)
        if n_prompt_tokens:
            self.cost.note(n_decodes, n_prompt_tokens + plan.padding.tokens, seconds)
        else:
            self.cost.note(n_decodes + plan.padding.tokens, 0, seconds)
        self.totals.steps += 1
        self.totals.padding += plan.padding.tokens
        self.totals.graphs_reused = self._backend.n_graphs_reused - self._reused_before

    def _fill(self, plan: Plan) -> None:
        decodes = plan.decodes
        tokens = [sequence.generated[-1] for sequence in decodes]
        positions = [sequence.computed for sequence in decodes]
        slots = [sequence.slot for sequence in decodes]
        wants_logits = [True] * len(decodes)
        for span in plan.prompts:
            count = len(span.tokens)
            tokens += span.tokens
            positions += range(span.start, span.end)
            slots += [span.sequence.slot] * count
            wants_logits += [span.is_scored] * (count - 1)
            wants_logits.append(bool(span.n_rows))
        self._batch.fill(tokens, positions, slots, wants_logits, padding=plan.padding)

    def _sample(self, plan: Plan, logits: NDArray[np.float32]) -> list[Output]:
        """Draw for everybody who decodes, and for those whose prompt is computed now."""
        drawers, slots, rows = self._drawers(plan)
        try:
            draws = self._sampler.sample(logits, slots, rows)
        except Exception:
            log.exception("drawing for %d sequences failed; each is tried alone", len(drawers))
            return self._sample_alone(drawers, slots, rows, logits)
        return self._advance(drawers, draws)

    def _drawers(self, plan: Plan) -> tuple[list[Sequence], NDArray[np.int32], NDArray[np.int32] | None]:
        """Return who draws, with their slots and rows; no rows where each has one, in order."""
        decodes = plan.decodes
        if not plan.prompts:
            return decodes, self._batch.slots[: len(decodes)], None
        first = [(row, sequence) for row, sequence in plan.first_draws() if sequence.phase is Phase.DECODE]
        drawers = [*decodes, *(sequence for _, sequence in first)]
        rows = [*range(len(decodes)), *(row for row, _ in first)]
        slots = [sequence.slot for sequence in drawers]
        return drawers, np.array(slots, np.int32), np.array(rows, np.int32)

    def _sample_alone(
        self,
        drawers: list[Sequence],
        slots: NDArray[np.int32],
        rows: NDArray[np.int32] | None,
        logits: NDArray[np.float32],
    ) -> list[Output]:
        """Draw for one sequence after the other, so that only those fail that cannot be drawn for.

        A call that raises has drawn nothing, so nobody's numbers move.
        """
        rows = np.arange(len(drawers), dtype=np.int32) if rows is None else rows
        outputs: list[Output] = []
        for i, sequence in enumerate(drawers):
            try:
                draws = self._sampler.sample(logits, slots[i : i + 1], rows[i : i + 1])
            except Exception as error:
                outputs.append(self._fail(sequence, error))
            else:
                outputs += self._advance([sequence], draws)
        return outputs

    def _score(self, plan: Plan, logits: NDArray[np.float32]) -> list[Output]:
        """Record the scores of prompts' tokens, and end the choices that generate nothing."""
        outputs: list[Output] = []
        row = len(plan.decodes)
        for span in plan.prompts:
            if span.is_scored:
                try:
                    self._score_span(span, logits[row : row + span.n_rows])
                except Exception as error:
                    outputs.append(self._fail(span.sequence, error))
            row += span.n_rows
            for sequence in span.draws:
                if not sequence.max_tokens and sequence.phase is Phase.DECODE:
                    outputs.append(Output(sequence.prompt.owner, sequence.end()))
                    self.scheduler.retire(sequence)
        return outputs

    def _score_span(self, span: Span, logits: NDArray[np.float32]) -> None:
        """Score the prompt's tokens that follow those of a span, unless their scores are known.

        Raises:
            InternalError: a row of logits is of no use.
        """
        prompt = span.sequence.prompt
        first = max(span.start, len(prompt.scores))
        tokens = prompt.tokens[first + 1 : span.end + 1]
        rows = logits[first - span.start :][: len(tokens)]
        scores = self._sampler.score(rows, tokens, logprobs=prompt.n_alternatives or 0)
        if (failed := scores.status.nonzero()[0]).size:
            raise InternalError(RowStatus(scores.status[failed[0]]).message)
        tops = map(zip, scores.top_tokens.tolist(), scores.top_logprobs.tolist())
        prompt.scores += map(TokenLogprob, tokens, repeat(0), scores.logprobs.tolist(), map(tuple, tops))

    def _advance(self, drawers: list[Sequence], draws: Draws) -> list[Output]:
        """Give every sequence its token, and take back the slots of those that have ended."""
        outputs = []
        tokens, scores = draws.tokens.tolist(), self._scores(drawers, draws)
        for row, (sequence, token, score) in enumerate(zip(drawers, tokens, scores, strict=False)):
            try:
                if token < 0:
                    raise InternalError(RowStatus(draws.status[row]).message)
                delta = sequence.advance(token, *score, self._backend.piece)
                if sequence.may_now_end and sequence.phase is not Phase.FINISHED:
                    self._open(sequence)
            except Exception as error:
                outputs.append(self._fail(sequence, error))
                continue
            if sequence.phase is Phase.FINISHED:
                self.scheduler.retire(sequence)
            if delta is not None:
                outputs.append(Output(sequence.prompt.owner, delta))
        return outputs

    @staticmethod
    def _scores(drawers: list[Sequence], draws: Draws) -> Iterator[tuple[float, Alternatives]]:
        """Return the log-probability of each drawn token and its alternatives, as far as they are wanted."""
        wanted = [sequence.params.logprobs for sequence in drawers]
        if all(count is None for count in wanted):
            return repeat((0.0, ()))
        rows = zip(
            wanted,
            draws.logprobs.tolist(),  # Python's own numbers are cheaper to take than numpy's
            draws.top_tokens.tolist(),
            draws.top_logprobs.tolist(),
            strict=True,
        )
        return (
            (logprob, tuple(zip(tokens[:count], logprobs[:count], strict=True)) if count else ())
            for count, logprob, tokens, logprobs in rows
        )

    def _fail(self, sequence: Sequence, error: Exception) -> Output:
        """End one sequence with what went wrong for it; the others go on."""
        if not isinstance(error, EngineError):
            log.error("a sequence failed", exc_info=error)
            error = InternalError.of(error)
        delta = sequence.fail(error)
        self.scheduler.retire(sequence, discard=True)
        return Output(sequence.prompt.owner, delta)

    def _fail_running(self, error: Exception) -> list[Output]:
        """End whatever runs: after a failed decode nobody's part of the cache can be trusted.

        Raises:
            Exception: the model does not work any more.
        """
        running = [sequence for sequence in self.scheduler.unfinished() if sequence.slot >= 0]
        outputs = [self._fail(sequence, _model_error(error)) for sequence in running]
        self._slots.invalidate()
        for operation in self._slots.take_operations():
            self._carry_out(operation)
        self._try_model()
        return outputs

    def _try_model(self) -> None:
        """Decode a token for nobody: a model that cannot do even this would fail whoever comes next."""
        self._batch.fill([0], [0], [0], [True])
        self._backend.decode(self._batch)
        self._backend.truncate(0, 0)


def _model_error(error: Exception) -> InternalError:
    """Return what a client is told of a failed step; what a backend says is about no request."""
    if isinstance(error, BackendError):
        return InternalError(f"the model could not be run: {error}")
    return InternalError.of(error, "The model could not be run")
