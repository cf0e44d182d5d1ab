from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from typing_extensions import disjoint_base

from engine.sampling import SamplingParams

KERNELS: tuple[str, ...]

class Draws(NamedTuple):
    """What one call of :meth:`Sampler.sample` drew; entry ``i`` of an array is for draw ``i``.

    The arrays are views of memory that the sampler owns: they are valid until its next call of ``sample``.

    Attributes:
        tokens: int32 [m]. The drawn token, or -1 where ``status`` is not OK.
        logprobs: float64 [m]. The drawn token's raw log-probability (natural logarithm), before bias, penalties,
            temperature and filters. NaN where the slot asked for none or the row failed.
        top_tokens: int32 [m, max_logprobs]. The slot's ``logprobs`` = k tokens of largest raw logit in
            descending order, ties to the lowest id; columns from ``min(k, n_vocab)`` on are -1.
        top_logprobs: float64 [m, max_logprobs]. Their raw log-probabilities: -inf where a logit is -inf, NaN in
            unused columns. A token's number here and in ``logprobs`` is the same bit for bit.
        status: int32 [m]. A :class:`engine.sampling.RowStatus`.
    """

    tokens: NDArray[np.int32]
    logprobs: NDArray[np.float64]
    top_tokens: NDArray[np.int32]
    top_logprobs: NDArray[np.float64]
    status: NDArray[np.int32]

class Scores(NamedTuple):
    """What :meth:`Sampler.score` says of given tokens; entry ``i`` of an array is for row ``i``.

    Attributes:
        logprobs: float64 [m]. The token's raw log-probability (natural logarithm), -inf where its logit is. NaN
            where ``status`` is not OK.
        top_tokens: int32 [m, k]. The k tokens of largest logit in descending order, ties to the lowest id; -1
            from column ``n_vocab`` on, and where ``status`` is not OK.
        top_logprobs: float64 [m, k]. Their raw log-probabilities; NaN in unused columns. A token's number here
            and in ``logprobs`` is the same bit for bit.
        status: int32 [m]. A :class:`engine.sampling.RowStatus`.
    """

    logprobs: NDArray[np.float64]
    top_tokens: NDArray[np.int32]
    top_logprobs: NDArray[np.float64]
    status: NDArray[np.int32]

@disjoint_base
class Sampler:
    """Exact sampling for up to ``max_slots`` choices over a vocabulary of ``n_vocab`` tokens.

    A slot holds one choice: its parameters, its position in its stream of random numbers, and the tokens it
    has seen as far as its penalties need them. What a choice draws depends on its parameters, its seed and
    stream, its position and its logits, never on the other draws of the call. ``docs/sampler.md`` defines
    the eight steps from a row of logits to a token.

    A sampler is for one thread at a time: it releases the GIL while it works, and a second thread that calls
    it meanwhile gets a RuntimeError.

    Example:
        >>> sampler = Sampler(n_vocab=32_000, max_slots=8)
        >>> sampler.open(0, SamplingParams(seed=42, temperature=0.7, top_p=0.95, logprobs=5))
        >>> draws = sampler.sample(logits, slots=np.array([0], np.int32))  # logits: float32 [1, 32_000]
        >>> draws.tokens.shape, draws.top_tokens.shape
        ((1,), (1, 20))

    Args:
        n_vocab: Width of a row of logits, in [1, 2**30].
        max_slots: Number of slots, at least 1.
        max_logprobs: The largest ``SamplingParams.logprobs`` that a slot may ask for.
        threads: How many threads share the rows of a call, the caller included; the others sleep between
            calls. What is drawn does not depend on it.

    All kernels return the same bits. The environment variable ``NUCLEUS_KERNELS`` forces one of
    :data:`engine.sampling.KERNELS`; by default the sampler uses the first.

    Raises:
        ValueError: A number is out of its range, or NUCLEUS_KERNELS names what this machine does not have.
        MemoryError: There is no memory for ``n_vocab`` (about 110 bytes a token and thread, of which few are
            ever touched) or ``max_slots``, or no thread.

    See also:
        :class:`engine.sampling.SamplingParams`, what a slot is opened with.
    """

    def __new__(cls, n_vocab: int, max_slots: int, *, max_logprobs: int = 20, threads: int = 1) -> Self: ...
    @property
    def n_vocab(self) -> int:
        """Width of a row of logits."""
    @property
    def max_slots(self) -> int:
        """Number of slots."""
    @property
    def max_logprobs(self) -> int:
        """The most alternatives that a slot may ask for."""
    @property
    def threads(self) -> int:
        """How many threads share the rows of a call."""
    @property
    def kernels(self) -> str:
        """The one of :data:`engine.sampling.KERNELS` that this sampler uses."""
    def open(
        self,
        slot: int,
        params: SamplingParams,
        *,
        stream: int = 0,
        prompt: Sequence[int] | NDArray[np.int32] = (),
        generated: Sequence[int] | NDArray[np.int32] = (),
    ) -> None:
        """Put a choice into a slot. What was in the slot before is gone.

        Args:
            slot: In [0, max_slots).
            params: A :class:`engine.sampling.SamplingParams`; copied.
            stream: Index of the choice among those that share a seed, in [0, 2**32). Each stream has its own
                random numbers.
            prompt: Token ids [k] of the prompt; read for ``repetition_penalty`` only.
            generated: Token ids [k] that this choice has generated already, when it is resumed. It continues
                exactly as if it had never stopped.

        Raises:
            IndexError: ``slot`` is out of range.
            ValueError: A token id, ``stream`` or a parameter is out of range.
            TypeError: Token ids are not integers.
            MemoryError: There is no memory for the bias or for the tokens seen; the slot is as it was.
            RuntimeError: Another thread is in a call of this sampler.

        Example:
            >>> params = SamplingParams(seed=42, presence_penalty=0.5)
            >>> for choice in range(4):  # four choices of one prompt
            ...     sampler.open(choice, params, stream=choice, prompt=[1, 2, 3])

        See also:
            :meth:`close`, :meth:`sample`.
        """
    def close(self, slot: int) -> None:
        """Empty a slot and free its memory. Closing a closed slot does nothing.

        Raises:
            IndexError: ``slot`` is out of range.
            RuntimeError: Another thread is in a call of this sampler.

        See also:
            :meth:`open`.
        """
    def sample(
        self,
        logits: NDArray[np.float32],
        slots: NDArray[np.int32],
        rows: NDArray[np.int32] | None = None,
        *,
        masks: NDArray[np.int32] | None = None,
        mask_rows: NDArray[np.int32] | None = None,
    ) -> Draws:
        """Draw one token for each of ``slots``, count it in its slot and advance the slot's position.

        The GIL is released once for the whole batch. Draws that follow each other and read the same row with
        equal parameters (except seed, stream and ``logprobs``), the same mask and no penalty in effect share
        the work on it.

        Args:
            logits: float32 [n_rows, n_vocab], C-contiguous; only read. Unused rows are not read.
            slots: int32 [m], open slots, each at most once.
            rows: int32 [m], the row of ``logits`` that each draw reads. None: draw ``i`` reads row ``i``, and
                m must be n_rows.
            masks: int32 [k, ceil(n_vocab / 32)], C-contiguous; only read. Bit ``j % 32`` of word ``j // 32``,
                the lowest first, is set if token ``j`` may be drawn; bits from ``n_vocab`` on are ignored.
                None: every token may be drawn. Log-probabilities stay those of the raw row.
            mask_rows: int32 [m], the row of ``masks`` that applies to each draw; -1 for none. None: draw
                ``i`` has mask ``i``, and m must be k.

        Returns:
            The :class:`Draws`. A row with NaN, +inf or no finite logit that the mask allows gives the token
            -1 and a status, leaves the slot of the draw as it was, and affects no other draw.

        Raises:
            ValueError: A dtype or shape is wrong, a slot is not open or given twice.
            IndexError: A slot, row or mask is out of range.
            TypeError: An argument is not an array.
            RuntimeError: Another thread is in a call of this sampler.

        Whenever this method raises, nothing was drawn.

        Example:
            >>> slots = np.array([0, 1, 2, 3], np.int32)
            >>> rows = np.zeros(4, np.int32)  # all four read row 0
            >>> tokens = sampler.sample(logits, slots, rows).tokens.copy()
            >>> masks = np.array([[0b1010]], np.int32)  # tokens 1 and 3 of a vocabulary of 32 at most
            >>> sampler.sample(logits[:1], slots[:1], masks=masks).tokens[0] in (1, 3)
            True

        See also:
            :meth:`distribution`, which draws nothing; :meth:`score`, for tokens that are given.
        """
    def advance(self, slot: int, tokens: Sequence[int] | NDArray[np.int32]) -> None:
        """Count tokens as generated by a slot and move its position on, as if it had drawn them.

        This is for tokens that are known without a draw, as those of a text that is the only one that a
        grammar allows.

        Args:
            slot: An open slot.
            tokens: Token ids [k], in the order of the text.

        Raises:
            IndexError: ``slot`` is out of range.
            ValueError: The slot is not open, or a token id is out of range; the slot is as it was.
            TypeError: Token ids are not integers.
            RuntimeError: Another thread is in a call of this sampler.

        Example:
            >>> sampler.open(0, SamplingParams(seed=42, presence_penalty=0.5))
            >>> sampler.advance(0, [11, 12])  # as open(..., generated=[11, 12])

        See also:
            :meth:`sample`, which draws; :meth:`open`, which starts behind given tokens.
        """
    def score(
        self,
        logits: NDArray[np.float32],
        tokens: Sequence[int] | NDArray[np.int32],
        *,
        logprobs: int = 0,
    ) -> Scores:
        """Return the raw log-probability of a given token in each row. No slot is read or changed.

        Args:
            logits: float32 [m, n_vocab], C-contiguous; only read.
            tokens: Token ids [m], one for each row.
            logprobs: How many alternatives to report with each, in [0, max_logprobs].

        Returns:
            The :class:`Scores`, in new arrays.

        Raises:
            ValueError: A shape or dtype is wrong, a token or ``logprobs`` is out of range.
            TypeError: The tokens are not integers.
            RuntimeError: Another thread is in a call of this sampler.

        Example:
            >>> scores = sampler.score(logits, tokens=[11], logprobs=2)  # logits: float32 [1, n_vocab]
            >>> scores.logprobs.shape, scores.top_tokens.shape
            ((1,), (1, 2))

        See also:
            :meth:`sample`, which reports the log-probabilities of what it draws.
        """
    def distribution(
        self, logits: NDArray[np.float32], slot: int, mask: NDArray[np.int32] | None = None
    ) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """Return the tokens that a slot may draw next from a row, with their probabilities. Nothing is drawn.

        Args:
            logits: float32 [n_vocab], C-contiguous; only read.
            slot: An open slot.
            mask: int32 [ceil(n_vocab / 32)], the tokens that may be drawn, as a row of ``masks`` of
                :meth:`sample`. None: all.

        Returns:
            int32 [k] ids in ascending order and float64 [k] probabilities that add up to 1. Temperature 0
            gives one token. Tokens whose probability underflows (under e^-708 of the best) are left out.

        Raises:
            ValueError: The shape or dtype is wrong, the slot is not open, or no token can be drawn.
            IndexError: ``slot`` is out of range.
            RuntimeError: Another thread is in a call of this sampler.

        Example:
            >>> sampler.open(0, SamplingParams(seed=42, top_k=3))
            >>> ids, probabilities = sampler.distribution(logits[0], slot=0)
            >>> len(ids)
            3

        See also:
            :meth:`sample`, which draws from it.
        """

def philox4x32(counter: Sequence[int], key: Sequence[int]) -> tuple[int, int, int, int]:
    """Return the four 32-bit words of Philox4x32-10 for a counter of four words and a key of two.

    This is the generator behind every draw (Salmon et al., SC 2011). It is public so that its published test
    vectors can be run.

    Raises:
        ValueError: There are not four and two words, or one is not in [0, 2**32).
    """

def uniform(seed: int, stream: int, position: int) -> float:
    """Return the uniform number in [0, 1) that selects the token at ``position`` of a choice.

    Args:
        seed: The choice's seed, in [0, 2**64).
        stream: Index of the choice, in [0, 2**32).
        position: Number of tokens the choice has generated before, in [0, 2**64).

    Returns:
        A multiple of 2**-53.

    Raises:
        ValueError: An argument is out of its range.

    See also:
        :meth:`Sampler.sample`, which draws with these numbers (step 8).
    """
