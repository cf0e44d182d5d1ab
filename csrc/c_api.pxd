# What the extension module uses of the C in this directory. Not named after the module: Cython takes a .pxd
# of that name only from the package it installs into.

from libc.stdint cimport int32_t, uint32_t, uint64_t


cdef extern from "random.h" nogil:
    void c_philox4x32_10 "philox4x32_10"(uint32_t counter[4], const uint32_t key[2])
    double draw_uniform(uint64_t seed, uint32_t rng_stream, uint64_t position)

cdef extern from "kernels.h" nogil:
    struct c_kernels "kernels":
        const char *name

    const c_kernels *const *kernels_usable()
    const c_kernels *kernels_named(const char *name)

cdef extern from "slot.h" nogil:
    struct c_params "params":
        double temperature
        double top_p
        double min_p
        double presence_penalty
        double frequency_penalty
        double repetition_penalty
        uint64_t seed
        uint32_t rng_stream
        int32_t top_k
        int32_t logprobs

    struct c_slot "slot":
        bint open

    struct slot_start:
        const int32_t *bias_id
        const double *bias
        size_t n_bias
        const int32_t *prompt
        size_t n_prompt
        const int32_t *generated
        size_t n_generated

    bint params_valid(const c_params *)
    bint slot_init(c_slot *, size_t n_vocab, const c_params *, const slot_start *)
    void slot_clear(c_slot *)
    void slot_advance(c_slot *, int32_t token)

cdef extern from "candidates.h" nogil:
    struct c_candidates "candidates":
        size_t count
        const int32_t *id
        const double *mass
        double total

cdef extern from "distribution.h" nogil:
    struct c_distribution "distribution":
        c_candidates candidates

cdef extern from "sampler.h" nogil:
    enum row_status:
        ROW_OK
        ROW_NAN_LOGIT
        ROW_INFINITE_LOGIT
        ROW_NO_FINITE_LOGIT

    enum sampler_fault:
        SAMPLER_OK
        SAMPLER_BAD_SLOT
        SAMPLER_CLOSED_SLOT
        SAMPLER_SLOT_TWICE
        SAMPLER_BAD_ROW
        SAMPLER_BAD_MASK

    struct c_workspace "workspace":
        c_distribution distribution

    struct c_sampler "sampler":
        const c_kernels *kernels
        size_t n_vocab
        size_t max_slots
        int32_t max_logprobs
        size_t threads
        c_slot *slots
        c_workspace *workspaces

    struct sampler_batch:
        const float *logits
        size_t n_rows
        size_t n_draws
        const int32_t *slots
        const int32_t *rows
        const uint32_t *masks
        size_t n_masks
        const int32_t *mask_rows
        size_t top_columns
        int32_t *tokens
        double *logprobs
        int32_t *top_tokens
        double *top_logprobs
        int32_t *status

    c_sampler *sampler_new(
        const c_kernels *, size_t n_vocab, size_t max_slots, int32_t max_logprobs, size_t threads
    )
    void sampler_free(c_sampler *)
    sampler_fault sampler_prepare(c_sampler *, const sampler_batch *, size_t *at)
    void sampler_draw(c_sampler *, const sampler_batch *)
    void sampler_score(c_sampler *, const sampler_batch *, int32_t k)
    row_status sampler_distribution(c_sampler *, const float *logits, size_t slot, const uint32_t *mask)
