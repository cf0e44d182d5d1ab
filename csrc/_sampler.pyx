# cython: auto_pickle=False, autotestdict=False
"""The sampler's extension module: a thin class over the C in this directory.

:mod:`engine.sampling` is its public face. It needs no numpy headers and imports nothing from the package.
"""

import os
from collections import namedtuple
from operator import index

import numpy as np

from libc.math cimport INFINITY, isfinite
from libc.stdint cimport INT32_MAX, int32_t, uint32_t

from csrc.c_api cimport (
    ROW_OK,
    SAMPLER_BAD_ROW,
    SAMPLER_BAD_SLOT,
    SAMPLER_CLOSED_SLOT,
    SAMPLER_OK,
    SAMPLER_SLOT_TWICE,
    c_kernels,
    c_candidates,
    c_params,
    c_philox4x32_10,
    c_sampler,
    c_slot,
    draw_uniform,
    kernels_named,
    kernels_usable,
    params_valid,
    row_status,
    sampler_batch,
    sampler_distribution,
    sampler_draw,
    sampler_fault,
    sampler_free,
    sampler_new,
    sampler_prepare,
    sampler_score,
    slot_advance,
    slot_clear,
    slot_init,
    slot_start,
)


Draws = namedtuple("Draws", ["tokens", "logprobs", "top_tokens", "top_logprobs", "status"])
Draws.__module__ = __name__
Draws.__doc__ = """What one call of :meth:`Sampler.sample` drew; entry ``i`` of an array is for draw ``i``.

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


Scores = namedtuple("Scores", ["logprobs", "top_tokens", "top_logprobs", "status"])
Scores.__module__ = __name__
Scores.__doc__ = """What :meth:`Sampler.score` says of given tokens; entry ``i`` of an array is for row ``i``.

Attributes:
    logprobs: float64 [m]. The token's raw log-probability (natural logarithm), -inf where its logit is. NaN
        where ``status`` is not OK.
    top_tokens: int32 [m, k]. The k tokens of largest logit in descending order, ties to the lowest id; -1
        from column ``n_vocab`` on, and where ``status`` is not OK.
    top_logprobs: float64 [m, k]. Their raw log-probabilities; NaN in unused columns. A token's number here
        and in ``logprobs`` is the same bit for bit.
    status: int32 [m]. A :class:`engine.sampling.RowStatus`.
"""


cdef tuple _usable_kernels():
    names = []
    cdef const c_kernels *const *kernels = kernels_usable()
    while kernels[0] != NULL:
        names.append(kernels[0].name.decode())
        kernels += 1
    return tuple(names)


KERNELS = _usable_kernels()


cdef const c_kernels *_chosen_kernels() except NULL:
    """Return the best kernels for this machine, or those that the environment names."""
    name = os.environ.get("NUCLEUS_KERNELS") or KERNELS[0]
    if name not in KERNELS:
        raise ValueError(f"NUCLEUS_KERNELS must be one of {', '.join(KERNELS)} on this machine, got {name!r}")
    return kernels_named(name.encode())


def philox4x32(counter, key):
    """Return the four 32-bit words of Philox4x32-10 for a counter of four words and a key of two.

    This is the generator behind every draw (Salmon et al., SC 2011). It is public so that its published test
    vectors can be run.

    Raises:
        ValueError: There are not four and two words, or one is not in [0, 2**32).
    """
    if len(counter) != 4 or len(key) != 2:
        raise ValueError(f"philox4x32 takes 4 + 2 words, got {len(counter)} + {len(key)}")
    cdef uint32_t[4] words
    cdef uint32_t[2] keys
    for i in range(4):
        words[i] = _within("counter word", counter[i], 0, 2**32 - 1, ValueError)
    for i in range(2):
        keys[i] = _within("key word", key[i], 0, 2**32 - 1, ValueError)
    c_philox4x32_10(words, keys)
    return (words[0], words[1], words[2], words[3])


def uniform(seed, stream, position):
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
    return draw_uniform(
        _within("seed", seed, 0, 2**64 - 1, ValueError),
        _within("stream", stream, 0, 2**32 - 1, ValueError),
        _within("position", position, 0, 2**64 - 1, ValueError),
    )


cdef object _within(str name, object value, object low, object high, type error):
    """Return the value as an int, or raise an error that names it and the limits."""
    number = index(value)
    if not low <= number <= high:
        raise error(f"{name} must be in [{low}, {high}], got {number}")
    return number


cdef object _token_array(str name, object tokens, size_t n_vocab):
    """Return token ids as a contiguous int32 array, each one checked."""
    array = np.asarray(tokens)
    if array.ndim != 1:
        raise ValueError(f"{name} must have one dimension, got {array.ndim}")
    if array.size == 0:
        return np.empty(0, np.int32)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} must hold integers, got {array.dtype}")
    low, high = int(array.min()), int(array.max())
    if low < 0 or high >= n_vocab:
        raise ValueError(
            f"token ids in {name} must be in [0, {n_vocab - 1}], got {low if low < 0 else high}"
        )
    return np.ascontiguousarray(array, np.int32)


cdef class Sampler:
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

    cdef c_sampler *_core
    cdef bint _busy
    cdef sampler_batch _batch  # points to the arrays below
    cdef object _tokens, _logprobs, _top_tokens, _top_logprobs, _status
    cdef dict _draws

    def __cinit__(self, n_vocab, max_slots, *, max_logprobs=20, threads=1):
        _within("n_vocab", n_vocab, 1, 2**30, ValueError)
        _within("max_slots", max_slots, 1, INT32_MAX, ValueError)
        _within("max_logprobs", max_logprobs, 0, INT32_MAX, ValueError)
        _within("threads", threads, 1, 1024, ValueError)
        self._core = sampler_new(_chosen_kernels(), n_vocab, max_slots, max_logprobs, threads)
        if self._core == NULL:
            raise MemoryError(f"no memory for a sampler of {n_vocab} tokens and {max_slots} slots")
        columns = max(max_logprobs, 1)  # a view of no columns has no address
        self._tokens = np.empty(max_slots, np.int32)
        self._logprobs = np.empty(max_slots, np.float64)
        self._top_tokens = np.empty((max_slots, columns), np.int32)
        self._top_logprobs = np.empty((max_slots, columns), np.float64)
        self._status = np.empty(max_slots, np.int32)
        self._draws = {}
        self._aim()

    cdef int _aim(self) except -1:
        cdef int32_t[::1] tokens = self._tokens
        cdef double[::1] logprobs = self._logprobs
        cdef int32_t[:, ::1] top_tokens = self._top_tokens
        cdef double[:, ::1] top_logprobs = self._top_logprobs
        cdef int32_t[::1] status = self._status
        self._batch.top_columns = top_tokens.shape[1]
        self._batch.tokens = &tokens[0]
        self._batch.logprobs = &logprobs[0]
        self._batch.top_tokens = &top_tokens[0, 0]
        self._batch.top_logprobs = &top_logprobs[0, 0]
        self._batch.status = &status[0]
        return 0

    def __dealloc__(self):
        sampler_free(self._core)

    @property
    def n_vocab(self):
        """Width of a row of logits."""
        return self._core.n_vocab

    @property
    def max_slots(self):
        """Number of slots."""
        return self._core.max_slots

    @property
    def max_logprobs(self):
        """The most alternatives that a slot may ask for."""
        return self._core.max_logprobs

    @property
    def threads(self):
        """How many threads share the rows of a call."""
        return self._core.threads

    @property
    def kernels(self):
        """The one of :data:`engine.sampling.KERNELS` that this sampler uses."""
        return self._core.kernels.name.decode()

    def open(self, slot, params, *, stream=0, prompt=(), generated=()):
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
        self._refuse_while_busy()
        number = _within("slot", slot, 0, self._core.max_slots - 1, IndexError)
        cdef c_params values = self._read_params(params, stream)
        biases = sorted(params.logit_bias.items())
        bias_ids = _token_array("logit_bias", [token for token, _ in biases], self._core.n_vocab)
        bias_values = np.array([value for _, value in biases], np.float64)
        prompt_ids = _token_array("prompt", prompt, self._core.n_vocab)
        generated_ids = _token_array("generated", generated, self._core.n_vocab)
        self._fill(number, &values, bias_ids, bias_values, prompt_ids, generated_ids)

    cdef c_params _read_params(self, object given, object stream) except *:
        cdef c_params result
        result.temperature = given.temperature
        result.top_p = given.top_p
        result.min_p = given.min_p
        result.presence_penalty = given.presence_penalty
        result.frequency_penalty = given.frequency_penalty
        result.repetition_penalty = given.repetition_penalty
        result.seed = _within("seed", given.seed, 0, 2**64 - 1, ValueError)
        result.rng_stream = _within("stream", stream, 0, 2**32 - 1, ValueError)
        result.top_k = max(-1, min(index(given.top_k), self._core.n_vocab))
        result.logprobs = -1
        if given.logprobs is not None:
            result.logprobs = _within("logprobs", given.logprobs, 0, self._core.max_logprobs, ValueError)
        if not params_valid(&result):
            raise ValueError(f"a parameter is out of its range: {given!r}")
        return result

    cdef int _fill(
        self,
        size_t number,
        const c_params *values,
        const int32_t[::1] bias_ids,
        const double[::1] bias_values,
        const int32_t[::1] prompt,
        const int32_t[::1] generated,
    ) except -1:
        """Build the slot apart and swap it in when it is complete."""
        cdef c_slot fresh
        cdef slot_start start
        cdef Py_ssize_t i
        cdef double value
        for i in range(bias_values.shape[0]):
            value = bias_values[i]
            if not isfinite(value) and value != -INFINITY:
                raise ValueError(f"logit_bias must be finite or -inf, got {value} for token {bias_ids[i]}")
        start.n_bias = bias_ids.shape[0]
        start.bias_id = &bias_ids[0] if bias_ids.shape[0] else NULL
        start.bias = &bias_values[0] if bias_ids.shape[0] else NULL
        start.n_prompt = prompt.shape[0]
        start.prompt = &prompt[0] if prompt.shape[0] else NULL
        start.n_generated = generated.shape[0]
        start.generated = &generated[0] if generated.shape[0] else NULL
        if not slot_init(&fresh, self._core.n_vocab, values, &start):
            raise MemoryError("no memory for the tokens that a choice has seen")
        slot_clear(&self._core.slots[number])
        self._core.slots[number] = fresh
        return 0

    def close(self, slot):
        """Empty a slot and free its memory. Closing a closed slot does nothing.

        Raises:
            IndexError: ``slot`` is out of range.
            RuntimeError: Another thread is in a call of this sampler.

        See also:
            :meth:`open`.
        """
        self._refuse_while_busy()
        number = _within("slot", slot, 0, self._core.max_slots - 1, IndexError)
        slot_clear(&self._core.slots[<size_t>number])

    def sample(
        self,
        const float[:, ::1] logits not None,
        const int32_t[::1] slots not None,
        const int32_t[::1] rows=None,
        *,
        const int32_t[:, ::1] masks=None,
        const int32_t[::1] mask_rows=None,
    ):
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
        self._refuse_while_busy()
        cdef size_t n = slots.shape[0]
        cdef Py_ssize_t n_given = -1
        if rows is not None:
            n_given = rows.shape[0]
        self._check_shapes(logits.shape[0], logits.shape[1], n, n_given)
        self._take_masks(masks, mask_rows, n)
        draws = self._draws_of(n)
        if n == 0:
            return draws
        self._batch.logits = &logits[0, 0]
        self._batch.n_rows = logits.shape[0]
        self._batch.n_draws = n
        self._batch.slots = &slots[0]
        self._batch.rows = &rows[0] if n_given != -1 else NULL
        self._prepare()
        self._busy = True
        with nogil:
            sampler_draw(self._core, &self._batch)
        self._busy = False
        return draws

    cdef int _take_masks(
        self, const int32_t[:, ::1] masks, const int32_t[::1] mask_rows, Py_ssize_t n
    ) except -1:
        self._batch.n_masks = 0
        self._batch.mask_rows = NULL
        if masks is None:
            if mask_rows is not None:
                raise ValueError("mask_rows must come with masks")
            return 0
        self._check_mask_words(masks.shape[1])
        if mask_rows is None and masks.shape[0] != n:
            raise ValueError(
                f"without mask_rows, masks must have one row per slot ({n}), got {masks.shape[0]}"
            )
        if mask_rows is not None and mask_rows.shape[0] != n:
            raise ValueError(f"mask_rows must have one entry per slot ({n}), got {mask_rows.shape[0]}")
        self._batch.n_masks = masks.shape[0]
        if masks.shape[0]:  # an array without entries has no address
            self._batch.masks = <const uint32_t *>&masks[0, 0]
        if mask_rows is not None and n:
            self._batch.mask_rows = &mask_rows[0]
        return 0

    cdef int _check_mask_words(self, Py_ssize_t words) except -1:
        cdef Py_ssize_t needed = (<Py_ssize_t>self._core.n_vocab + 31) // 32
        if words != needed:
            raise ValueError(f"a mask must have {needed} words (32 tokens in each), got {words}")
        return 0

    def advance(self, slot, tokens):
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
        self._refuse_while_busy()
        cdef size_t number = _within("slot", slot, 0, self._core.max_slots - 1, IndexError)
        if not self._core.slots[number].open:
            raise ValueError(f"slot {number} is not open")
        cdef const int32_t[::1] ids = _token_array("tokens", tokens, self._core.n_vocab)
        cdef Py_ssize_t i
        for i in range(ids.shape[0]):
            slot_advance(&self._core.slots[number], ids[i])

    def score(self, const float[:, ::1] logits not None, tokens, *, logprobs=0):
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
        self._refuse_while_busy()
        cdef int32_t k = _within("logprobs", logprobs, 0, self._core.max_logprobs, ValueError)
        cdef Py_ssize_t n = logits.shape[0]
        cdef Py_ssize_t columns = max(k, 1)  # a view of no columns has no address
        if logits.shape[1] != <Py_ssize_t>self._core.n_vocab:
            raise ValueError(
                f"logits must have {self._core.n_vocab} columns (n_vocab), got {logits.shape[1]}"
            )
        ids = _token_array("tokens", tokens, self._core.n_vocab).copy()
        if ids.shape[0] != n:
            raise ValueError(f"tokens must have one entry per row of logits ({n}), got {ids.shape[0]}")
        scores = Scores(
            np.empty(n, np.float64),
            np.empty((n, columns), np.int32),
            np.empty((n, columns), np.float64),
            np.empty(n, np.int32),
        )
        if n:
            self._score_rows(logits, ids, k, scores)
        return scores._replace(top_tokens=scores.top_tokens[:, :k], top_logprobs=scores.top_logprobs[:, :k])

    cdef int _score_rows(
        self, const float[:, ::1] logits, int32_t[::1] ids, int32_t k, object scores
    ) except -1:
        cdef double[::1] logprobs = scores.logprobs
        cdef int32_t[:, ::1] top_tokens = scores.top_tokens
        cdef double[:, ::1] top_logprobs = scores.top_logprobs
        cdef int32_t[::1] status = scores.status
        cdef sampler_batch batch
        batch.logits = &logits[0, 0]
        batch.n_rows = batch.n_draws = logits.shape[0]
        batch.slots = batch.rows = NULL
        batch.top_columns = top_tokens.shape[1]
        batch.tokens = &ids[0]
        batch.logprobs = &logprobs[0]
        batch.top_tokens = &top_tokens[0, 0]
        batch.top_logprobs = &top_logprobs[0, 0]
        batch.status = &status[0]
        self._busy = True
        with nogil:
            sampler_score(self._core, &batch, k)
        self._busy = False
        return 0

    cdef object _draws_of(self, size_t n):
        """Return views of the first n draws, the same ones every time: making them takes a microsecond."""
        draws = self._draws.get(n)
        if draws is None:
            columns = self._core.max_logprobs
            draws = self._draws[n] = Draws(
                self._tokens[:n],
                self._logprobs[:n],
                self._top_tokens[:n, :columns],
                self._top_logprobs[:n, :columns],
                self._status[:n],
            )
        return draws

    cdef int _refuse_while_busy(self) except -1:
        if self._busy:
            raise RuntimeError("this sampler is in use by another thread")
        return 0

    cdef int _check_shapes(
        self, Py_ssize_t n_rows, Py_ssize_t width, Py_ssize_t n, Py_ssize_t n_given
    ) except -1:
        if width != <Py_ssize_t>self._core.n_vocab:
            raise ValueError(f"logits must have {self._core.n_vocab} columns (n_vocab), got {width}")
        if n_given == -1 and n != n_rows:
            raise ValueError(f"without rows, slots must have one entry per row of logits ({n_rows}), got {n}")
        if n_given != -1 and n_given != n:
            raise ValueError(f"rows must have one entry per slot ({n}), got {n_given}")
        if n > <Py_ssize_t>self._core.max_slots:
            raise ValueError(f"slots must have at most {self._core.max_slots} entries (max_slots), got {n}")
        if n > 0 and n_rows == 0:
            raise ValueError(f"logits must have a row to draw from, got 0 rows for {n} slots")
        return 0

    cdef int _prepare(self) except -1:
        """Check every index of the batch, and raise an exception for a fault that the C side found."""
        cdef size_t at = 0
        cdef sampler_fault fault = sampler_prepare(self._core, &self._batch, &at)
        if fault == SAMPLER_OK:
            return 0
        slot = self._batch.slots[at]
        if fault == SAMPLER_BAD_SLOT:
            raise IndexError(f"slots[{at}] must be in [0, {self._core.max_slots - 1}], got {slot}")
        if fault == SAMPLER_CLOSED_SLOT:
            raise ValueError(f"slots[{at}] is {slot}, which is not open")
        if fault == SAMPLER_SLOT_TWICE:
            raise ValueError(f"slots[{at}] is {slot}, which is in the batch already")
        if fault == SAMPLER_BAD_ROW:
            row = self._batch.rows[at]
            raise IndexError(f"rows[{at}] must be in [0, {self._batch.n_rows - 1}], got {row}")
        number = self._batch.mask_rows[at]
        last = <Py_ssize_t>self._batch.n_masks - 1
        raise IndexError(f"mask_rows[{at}] must be in [-1, {last}], got {number}")

    def distribution(self, const float[::1] logits not None, slot, const int32_t[::1] mask=None):
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
        self._refuse_while_busy()
        cdef size_t number = _within("slot", slot, 0, self._core.max_slots - 1, IndexError)
        cdef const uint32_t *words = NULL
        if <size_t>logits.shape[0] != self._core.n_vocab:
            raise ValueError(
                f"logits must have {self._core.n_vocab} entries (n_vocab), got {logits.shape[0]}"
            )
        if not self._core.slots[number].open:
            raise ValueError(f"slot {number} is not open")
        if mask is not None:
            self._check_mask_words(mask.shape[0])
            words = <const uint32_t *>&mask[0]
        cdef row_status status = sampler_distribution(self._core, &logits[0], number, words)
        if status != ROW_OK:
            raise ValueError(f"nothing can be drawn from this row: row status {<int>status}")
        return self._kept()

    cdef object _kept(self):
        cdef const c_candidates *kept = &self._core.workspaces[0].distribution.candidates
        ids = np.empty(kept.count, np.int32)
        probabilities = np.empty(kept.count, np.float64)
        cdef int32_t[::1] id_view = ids
        cdef double[::1] probability_view = probabilities
        cdef size_t i, n = 0
        for i in range(kept.count):
            if kept.mass[i] > 0.0:
                id_view[n] = kept.id[i]
                probability_view[n] = kept.mass[i] / kept.total
                n += 1
        return ids[:n], probabilities[:n]
