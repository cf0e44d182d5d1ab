"""The step: plan, decode, draw, tell."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

import numpy as np

from engine.backend.base import BackendError, Batch, decode
from engine.core.answers import Answers
from engine.core.attention_cost import Depth
from engine.core.calibration import calibrate
from engine.core.masks import Masks
from engine.core.policy import DEFAULT_POLICY, SchedulingPolicy
from engine.core.prefix_files import StoredPrefix, remove
from engine.core.scheduler import Scheduler
from engine.core.step_totals import StepTotals
from engine.errors import InternalError
from engine.kvcache.host_cache import HostPrefixCache
from engine.kvcache.operations import Copy, DeferFree, Drop, FreeDeferred, Restore, Save, Truncate
from engine.kvcache.slots import Slots
from engine.sampling import Sampler

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from numpy.typing import NDArray

    from engine.backend.base import Backend, SavedPrefix
    from engine.core.answers import Output
    from engine.core.plan import Plan, Span
    from engine.core.prefix_files import PrefixFiles
    from engine.core.sequence import Prompt
    from engine.core.step_cost import StepCost
    from engine.kvcache.operations import Operation

log = logging.getLogger("nucleus.loop")


class StepLoop:
    """Everything that the engine thread does, one step at a time; it knows no threads but the sampler's.

    Args:
        backend: The model.
        max_logprobs: Most alternatives that a request may ask for.
        threads: How many threads share the rows of a step while they are sampled.
        cost: What steps cost; by default all tokens cost the same until steps show otherwise.
        policy: The numbers that the scheduler and the cache decide by.
        speculates: Whether tokens are guessed where that makes them cheaper.
        files: Where saved prefixes outlive the process; by default nowhere.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        max_logprobs: int,
        threads: int = 1,
        cost: StepCost | None = None,
        policy: SchedulingPolicy = DEFAULT_POLICY,
        speculates: bool = True,
        files: PrefixFiles | None = None,
    ) -> None:
        self._backend = backend
        self._batch = Batch(backend.n_batch)
        sampler = Sampler(backend.info.n_vocab, backend.n_slots, max_logprobs=max_logprobs, threads=threads)
        self.cost = cost or calibrate(backend, seconds=0)
        self._slots = Slots(
            backend.n_slots,
            backend.n_cells,
            HostPrefixCache(backend.n_cells, min_new_tokens=policy.min_new_tokens, max_cost=policy.max_cost),
            prefix_cache=backend.prefix_cache,
            keeps_batch_invariant=backend.batch_invariance.widest > 0,
        )
        self._saved: dict[int, SavedPrefix] = {}
        self._began = 0.0
        self._depth = Depth()
        self.totals = StepTotals()
        self._reused_before = backend.n_graphs_reused  # while the model was loaded
        self.scheduler = Scheduler(
            self._slots,
            backend.n_batch,
            cost=self.cost,
            scored=backend.n_scored,
            drafted=backend.n_drafted if speculates else 0,
            batch_invariance=backend.batch_invariance,
            policy=policy,
        )
        self._files = files
        if files is not None:
            self._restore_all(files)
        self._masks = Masks(backend.n_slots, backend.info.n_vocab)
        self._answers = Answers(sampler, self.scheduler, backend.piece, self._masks)

    def _restore_all(self, files: PrefixFiles) -> None:
        """Take over the prefixes of an earlier process; the last written ones stay if there are too many."""
        for path, stored in files.load():
            entry_id, dropped = self._slots.adopt(stored.tokens, batch_invariant=stored.batch_invariant)
            for each in dropped:
                self._forget(each)
            if entry_id is None:
                remove(path)
            else:
                self._saved[entry_id] = stored.data
                files.adopt(entry_id, path)
        self.totals.restored = len(self._saved)

    def _forget(self, entry_id: int) -> None:
        """Let go of a saved prefix; there is none if a failure came before it was saved."""
        if self._saved.pop(entry_id, None) is not None and self._files is not None:
            self._files.drop(entry_id)

    @property
    def prefix_bytes(self) -> int:
        """Bytes of the prefixes on disk."""
        return self._files.n_bytes if self._files is not None else 0

    def close(self) -> None:
        """Write what is to outlive the process, and end the threads; no step can follow."""
        self._masks.close()
        if self._files is not None:
            self._files.close()

    def submit(self, prompt: Prompt) -> None:
        """Queue all choices of a prompt."""
        for sequence in prompt.sequences:
            if sequence.has_ended:
                self._answers.tell_end(sequence)
        self.scheduler.submit(prompt)

    def cancel(self, owner: Hashable) -> None:
        """Drop a request, wherever it stands; what was drawn for it is not told."""
        self.scheduler.cancel(owner)
        self._answers.cancel(owner)

    @property
    def has_work(self) -> bool:
        """True if a step would do anything."""
        return self.scheduler.has_work or self._answers.are_due

    def step(self, deliver: Callable[[list[Output]], None]) -> None:
        """Give every running sequence one token, and some waiting prompts a part of their prefill.

        Where the model runs by itself, the tokens of a step become text, and are delivered, while the next
        one runs; a sequence whose text turns out to have ended then has one row too many.
        """
        began = time.perf_counter()
        plan = self.scheduler.plan()
        try:
            self._prepare(plan)
            self._start(plan)
            if self._backend.is_asynchronous:
                deliver(self._answers.tell())
            logits = self._finish(plan)
        except Exception as error:
            log.exception("a step failed")
            self.totals.failed += 1
            deliver(self._answers.tell() + self._fail_running(error))
            return
        if plan.prompts:
            deliver(self._answers.score(plan, logits))
        self._draw(plan, logits)
        if not self._backend.is_asynchronous:
            deliver(self._answers.tell())
        if plan.n_tokens:
            self.totals.step_seconds.add(time.perf_counter() - began)

    def _draw(self, plan: Plan, logits: NDArray[np.float32]) -> None:
        totals, masks, began = self.totals, self._masks, time.perf_counter()
        totals.accepted += self._answers.draw(plan, logits)
        ended = time.perf_counter()
        if plan.n_tokens:
            totals.sampling_seconds.add(ended - began)
        totals.preemptions, totals.forced = self.scheduler.n_preempted, self._answers.n_forced
        totals.masked, totals.late_masks = masks.n_steps, masks.n_late
        totals.mask_seconds = masks.seconds_late
        for _, sequence in plan.first_draws():
            if sequence.prompt.first_token_at is None and sequence.generated:
                sequence.prompt.first_token_at = time.monotonic()

    def _prepare(self, plan: Plan) -> None:
        for operation in plan.cache:
            self._carry_out(operation)
        for sequence in plan.admitted:
            if sequence.prompt.admitted_at is None:
                sequence.prompt.admitted_at = time.monotonic()
            try:
                self._answers.open(sequence)
            except Exception:
                log.exception("a sequence could not be opened")
                self._answers.close(sequence.slot)

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
                if self._files is not None and (entry := self._slots.saved(entry_id)) is not None:
                    self._files.put(entry_id, StoredPrefix(*entry, self._saved[entry_id]))
            case Restore(entry_id, slot, length):
                self._backend.restore(slot, self._saved[entry_id], length)
            case Drop(entry_id):
                self._forget(entry_id)

    def _start(self, plan: Plan) -> None:
        if not plan.n_tokens:
            return
        self._fill(plan)
        self._masks.start(plan.drawers())
        self._began = time.perf_counter()
        self._backend.start(self._batch)
        for span in plan.prompts:
            for fork in span.draws[1:]:
                self._backend.copy(span.sequence.slot, fork.slot, span.end)
        self.scheduler.computed(plan)

    def _finish(self, plan: Plan) -> NDArray[np.float32]:
        if not plan.n_tokens:
            return np.empty((0, self._backend.info.n_vocab), np.float32)
        logits = self._backend.logits()
        self._note(plan, time.perf_counter() - self._began)
        return logits

    def _note(self, plan: Plan, seconds: float) -> None:
        """Learn what a step took."""
        n_decodes = len(plan.decodes) + plan.n_drafted
        n_prompt_tokens = self._batch.size - n_decodes
        self.cost.note(
            n_decodes,
            n_prompt_tokens,
            seconds,
            padding=plan.padding.tokens,
            depth=self._depth,
            guesses=plan.n_drafted,
        )
        self.totals.model_seconds.add(seconds)
        self.totals.steps += 1
        self.totals.decoded += len(plan.decodes)
        self.totals.prefilled += n_prompt_tokens
        self.totals.padding += plan.padding.tokens
        self.totals.drafted += plan.n_drafted
        self.totals.graphs_reused = self._backend.n_graphs_reused - self._reused_before

    def _fill(self, plan: Plan) -> None:
        decodes = plan.decodes
        tokens = [sequence.generated[-1] for sequence in decodes]
        positions = [sequence.computed for sequence in decodes]
        slots = [sequence.slot for sequence in decodes]
        wants_logits = [True] * len(decodes)
        for sequence, draft in plan.drafts:
            tokens += draft
            positions += range(sequence.computed + 1, sequence.computed + 1 + len(draft))
            slots += [sequence.slot] * len(draft)
            wants_logits += [True] * len(draft)
        depth = sum(positions) / max(len(positions), 1)
        self._depth = Depth(depth, _mean_start(plan.prompts) if plan.prompts else 0.0)
        for span in plan.prompts:
            count = len(span.tokens)
            tokens += span.tokens
            positions += range(span.start, span.end)
            slots += [span.sequence.slot] * count
            wants_logits += [span.is_scored] * (count - 1)
            wants_logits.append(bool(span.n_rows))
        self._batch.fill(tokens, positions, slots, wants_logits, padding=plan.padding)

    def _fail_running(self, error: Exception) -> list[Output]:
        """End whatever runs: after a failed decode nobody's part of the cache can be trusted.

        Raises:
            Exception: the model does not work any more.
        """
        running = [sequence for sequence in self.scheduler.unfinished() if sequence.slot >= 0]
        outputs = [self._answers.fail(sequence, _model_error(error)) for sequence in running]
        self._slots.invalidate()
        for operation in self._slots.take_operations():
            self._carry_out(operation)
        self._try_model()
        return outputs

    def _try_model(self) -> None:
        """Decode a token for nobody: a model that cannot do even this would fail whoever comes next."""
        self._batch.fill([0], [0], [0], [True])
        decode(self._backend, self._batch)
        self._backend.truncate(0, 0)


def _mean_start(prompts: list[Span]) -> float:
    """Return how many tokens lie before the parts of prompts, on average over their tokens."""
    n_tokens = sum(len(span.tokens) for span in prompts)
    return sum(span.start * len(span.tokens) for span in prompts) / n_tokens


def _model_error(error: Exception) -> InternalError:
    """Return what a client is told of a failed step; what a backend says is about no request."""
    if isinstance(error, BackendError):
        return InternalError(f"the model could not be run: {error}")
    return InternalError.of(error, "The model could not be run")
