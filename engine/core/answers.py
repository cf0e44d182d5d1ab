"""From a step's logits to what callers are told: tokens are drawn, and become text."""

from __future__ import annotations

import logging
from itertools import chain, repeat
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from engine.core.delta import TokenLogprob
from engine.core.drawn import Drawn, Forced
from engine.core.phases import Phase
from engine.errors import EngineError, InternalError, InvalidRequestError
from engine.grammar.form import GrammarError
from engine.sampling import RowStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from numpy.typing import NDArray

    from engine.core.delta import Delta
    from engine.core.masks import Masks
    from engine.core.plan import Plan, Span
    from engine.core.scheduler import Scheduler
    from engine.core.sequence import Sequence
    from engine.grammar.matcher import Matcher
    from engine.sampling import Draws, Sampler

log = logging.getLogger("nucleus.loop")


class Output(NamedTuple):
    """What one step has for one request."""

    owner: Hashable
    delta: Delta


class Answers:
    """Draws the tokens of a step, and turns them into text.

    The two are apart, so that the model can take the next step in between.

    Args:
        sampler: Draws; each slot that the scheduler gives is opened in it.
        scheduler: Takes back the slots of sequences that have ended.
        piece_of: Returns the bytes that a token adds to the text.
        masks: Which tokens may follow in the slots whose answers are to have a form.
    """

    def __init__(
        self, sampler: Sampler, scheduler: Scheduler, piece_of: Callable[[int], bytes], masks: Masks
    ) -> None:
        self._sampler = sampler
        self._masks = masks
        self._scheduler = scheduler
        self._piece_of = piece_of
        self._drawn: list[Drawn | Forced] = []
        self._due: list[Output] = []
        self._cancelled: set[Hashable] = set()
        self.n_forced = 0
        """Tokens that nobody drew, as forms left no choice about them."""

    @property
    def are_due(self) -> bool:
        """True if something was drawn and not told yet."""
        return bool(self._drawn or self._due)

    def cancel(self, owner: Hashable) -> None:
        """Do not tell what was drawn for a request."""
        if self.are_due:
            self._cancelled.add(owner)

    def close(self, slot: int) -> None:
        """Let the next draw of a slot fail, and nobody else's."""
        self._sampler.close(slot)

    def tell_end(self, sequence: Sequence) -> None:
        """Tell the end of a choice that had ended before it could run."""
        self._due.append(Output(sequence.prompt.owner, sequence.ended()))

    def open(self, sequence: Sequence) -> None:
        """Prepare the slot that a sequence was given: its parameters, its random numbers, its text so far."""
        self._sampler.open(
            sequence.slot,
            sequence.sampling,
            stream=sequence.rng_stream,
            prompt=sequence.prompt.tokens,
            generated=sequence.generated,
        )

    def draw(self, plan: Plan, logits: NDArray[np.float32]) -> int:
        """Draw for everybody who decodes, and for those whose prompt is computed now.

        Returns:
            How many guesses were drawn, too: for each of them its sequence has drawn another token.
        """
        drawers, slots, rows = self._drawers(plan)
        if drawers:
            self._draw(drawers, slots, rows, logits)
        return self._check(plan, logits) if plan.drafts else 0

    def _check(self, plan: Plan, logits: NDArray[np.float32]) -> int:
        """Draw from the rows behind guesses, for each sequence as long as it draws what was guessed.

        What is drawn is what would have been drawn without: a draw depends on the logits, the seed and the
        position alone.
        """
        first = len(plan.decodes)
        going: list[tuple[Sequence, list[int], int]] = []
        for sequence, draft in plan.drafts:
            going.append((sequence, draft, first))
            first += len(draft)
            sequence.prompt.n_drafted += len(draft)
        accepted = i = 0
        while going := [each for each in going if _goes_on(each[0], each[1], i)]:
            accepted += len(going)
            drawers = [sequence for sequence, _, _ in going]
            for sequence in drawers:
                self._scheduler.accept(sequence)
                sequence.prompt.n_accepted += 1
            slots = np.array([sequence.slot for sequence in drawers], np.int32)
            self._draw(drawers, slots, np.array([row + i for _, _, row in going], np.int32), logits)
            i += 1
        return accepted

    def _draw(
        self,
        drawers: list[Sequence],
        slots: NDArray[np.int32],
        rows: NDArray[np.int32] | None,
        logits: NDArray[np.float32],
    ) -> None:
        self._keep_draws()
        try:
            draws = self._sample(drawers, logits, slots, rows)
        except Exception:
            log.exception("drawing for %d sequences failed; each is tried alone", len(drawers))
            self._draw_alone(drawers, slots, rows, logits)
        else:
            self._take(drawers, draws)

    def _sample(
        self,
        drawers: list[Sequence],
        logits: NDArray[np.float32],
        slots: NDArray[np.int32],
        rows: NDArray[np.int32] | None,
    ) -> Draws:
        if all(sequence.matcher is None for sequence in drawers):
            return self._sampler.sample(logits, slots, rows)
        mask_rows = np.array([-1 if each.matcher is None else each.slot for each in drawers], np.int32)
        return self._sampler.sample(logits, slots, rows, masks=self._masks.wait(), mask_rows=mask_rows)

    def _drawers(self, plan: Plan) -> tuple[list[Sequence], NDArray[np.int32], NDArray[np.int32] | None]:
        """Return who draws, with their slots and rows; no rows where each has one, in order.

        Whose text has turned out to end while the model ran draws no more.
        """
        drawers, rows = plan.decodes, None
        if plan.prompts or plan.drafts or any(sequence.phase is not Phase.DECODE for sequence in drawers):
            all_rows = [*enumerate(drawers), *plan.first_draws()]
            drawing = [(row, sequence) for row, sequence in all_rows if sequence.phase is Phase.DECODE]
            drawers = [sequence for _, sequence in drawing]
            rows = np.array([row for row, _ in drawing], np.int32)
        return drawers, np.array([sequence.slot for sequence in drawers], np.int32), rows

    def _draw_alone(
        self,
        drawers: list[Sequence],
        slots: NDArray[np.int32],
        rows: NDArray[np.int32] | None,
        logits: NDArray[np.float32],
    ) -> None:
        """Draw for one sequence after the other, so that only those fail that cannot be drawn for.

        A call that raises has drawn nothing, so nobody's numbers move.
        """
        rows = np.arange(len(drawers), dtype=np.int32) if rows is None else rows
        for i, sequence in enumerate(drawers):
            self._keep_draws()
            try:
                draws = self._sample([sequence], logits, slots[i : i + 1], rows[i : i + 1])
            except Exception as error:
                self._due.append(self.fail(sequence, error))
            else:
                self._take([sequence], draws)

    def _keep_draws(self) -> None:
        """Copy the last draws out of the sampler's memory, which its next call overwrites."""
        for i in reversed(range(len(self._drawn))):  # behind the last ones may be tokens that were forced
            drawn = self._drawn[i]
            if isinstance(drawn, Drawn):
                self._drawn[i] = drawn.kept()
                return

    def score(self, plan: Plan, logits: NDArray[np.float32]) -> list[Output]:
        """Record the scores of prompts' tokens, and end the choices that generate nothing."""
        outputs: list[Output] = []
        row = len(plan.decodes) + plan.n_drafted
        for span in plan.prompts:
            if span.is_scored and span.sequence.phase is not Phase.FINISHED:
                try:
                    self._score_span(span, logits[row : row + span.n_rows])
                except Exception as error:
                    outputs.append(self.fail(span.sequence, error))
            row += span.n_rows
            for sequence in span.draws:
                if not sequence.max_tokens and sequence.phase is Phase.DECODE:
                    outputs.append(Output(sequence.prompt.owner, sequence.end()))
                    self._scheduler.retire(sequence)
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

    def _take(self, drawers: list[Sequence], draws: Draws) -> None:
        """Give every sequence its token, and take back the slots of those that it ends."""
        failed: list[int] = []
        forced: list[tuple[Sequence, int]] = []
        for row, (sequence, token) in enumerate(zip(drawers, draws.tokens.tolist(), strict=False)):
            try:
                if token < 0:
                    raise _no_token(sequence, RowStatus(draws.status[row]))
                n_before = len(sequence.generated)
                sequence.take(token)
                if sequence.matcher is not None and (tokens := sequence.take_forced()):
                    forced.append((sequence, len(tokens)))
                    self.n_forced += len(tokens)
                    self._sampler.advance(sequence.slot, tokens)
                if sequence.phase is Phase.FINISHED:
                    self._scheduler.retire(sequence)
                elif n_before < sequence.stop.min_tokens <= len(sequence.generated):
                    self.open(sequence)  # from now on it may end
            except Exception as error:
                failed.append(row)
                self._due.append(self.fail(sequence, error))
        if not failed:
            self._drawn.append(Drawn(drawers, None, draws))
        else:
            rows = [row for row in range(len(drawers)) if row not in failed]
            self._drawn.append(Drawn([drawers[row] for row in rows], rows, draws))
        if forced:
            self._drawn.append(Forced(forced))

    def tell(self) -> list[Output]:
        """Turn the tokens of a step into text, and take back the slots of those whose text has ended."""
        cancelled, self._cancelled = self._cancelled, set()
        outputs, self._due = [each for each in self._due if each.owner not in cancelled], []
        drawn, self._drawn = self._drawn, []
        for sequence, logprob, alternatives in chain.from_iterable(each.scored() for each in drawn):
            if sequence.prompt.owner in cancelled:
                continue
            ran = sequence.phase is not Phase.FINISHED
            try:
                delta = sequence.tell(logprob, alternatives, self._piece_of)
            except Exception as error:
                outputs.append(self.fail(sequence, error))
                continue
            if ran and sequence.phase is Phase.FINISHED:
                self._scheduler.retire(sequence)
            if delta is not None:
                outputs.append(Output(sequence.prompt.owner, delta))
        return outputs

    def fail(self, sequence: Sequence, error: Exception) -> Output:
        """End one sequence with what went wrong for it; the others go on."""
        if isinstance(error, GrammarError) and sequence.matcher is not None:
            error = _lost_form(sequence.matcher, len(sequence.generated), error.message)
        if not isinstance(error, EngineError):
            log.error("a sequence failed", exc_info=error)
            error = InternalError.of(error)
        ran = sequence.phase is not Phase.FINISHED
        delta = sequence.fail(error)
        if ran:
            self._scheduler.retire(sequence, discard=True)
        return Output(sequence.prompt.owner, delta)


def _no_token(sequence: Sequence, status: RowStatus) -> EngineError:
    """Return why nothing can be drawn."""
    if sequence.matcher is None or status is not RowStatus.NO_FINITE_LOGIT:
        return InternalError(status.message)
    problem = sequence.matcher.problem or "No token is left that neither it nor another field rules out."
    return _lost_form(sequence.matcher, len(sequence.generated), problem)


def _lost_form(matcher: Matcher, n_tokens: int, problem: str) -> InvalidRequestError:
    """Return that a form cannot be followed any further, and why."""
    where = f"'{matcher.field}' cannot be followed behind {n_tokens} tokens of the answer"
    return InvalidRequestError(f"{where}: {problem}", param=matcher.field.partition(".")[0])


def _goes_on(sequence: Sequence, draft: list[int], i: int) -> bool:
    """Return True if a sequence runs and has just drawn the token that was guessed."""
    return sequence.phase is Phase.DECODE and i < len(draft) and sequence.generated[-1] == draft[i]
