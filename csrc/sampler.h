/* The sampler: slots with parameters, and one call that draws for a whole batch. No Python in here. */
#ifndef NUCLEUS_SAMPLER_H
#define NUCLEUS_SAMPLER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arena.h"
#include "distribution.h"
#include "row.h"
#include "slot.h"

struct thread_pool;

/* What one thread needs to sample from a row. */
struct workspace {
    struct row row;
    bool read;            /* is more than the row's status known? */
    struct row masked;    /* what a mask allows of the row */
    const uint32_t *mask; /* this mask; NULL if `masked` is not of this row */
    struct distribution distribution;
};

struct sampler {
    const struct kernels *kernels;
    size_t n_vocab;
    size_t max_slots;
    int32_t max_logprobs;
    size_t threads;
    struct arena arena;           /* every array below, and those of the workspaces */
    struct slot *slots;           /* [max_slots] */
    unsigned char *in_batch;      /* [max_slots]: is the slot in the batch that is checked? */
    size_t runs;                  /* of draws that follow each other and read the same row */
    size_t *run;                  /* [max_slots + 1]: the first draw of each run, then n_draws */
    struct workspace *workspaces; /* [threads] */
    struct thread_pool *pool;     /* NULL for one thread */
};

/* What can be wrong with a batch. */
enum sampler_fault {
    SAMPLER_OK = 0,
    SAMPLER_BAD_SLOT = 1,
    SAMPLER_CLOSED_SLOT = 2,
    SAMPLER_SLOT_TWICE = 3,
    SAMPLER_BAD_ROW = 4,
    SAMPLER_BAD_MASK = 5
};

/* One batch: draw i is for slots[i], reads row rows[i] (row i when rows is NULL) and may give the tokens of
 * mask mask_rows[i] (mask i when mask_rows is NULL; all tokens for -1, and when there is neither). */
struct sampler_batch {
    const float *logits; /* [n_rows, n_vocab] */
    size_t n_rows;
    size_t n_draws;
    const int32_t *slots; /* [n_draws] */
    const int32_t *rows;  /* [n_draws] or NULL */
    const uint32_t *masks; /* [n_masks, mask_words(n_vocab)] */
    size_t n_masks;
    const int32_t *mask_rows; /* [n_draws] or NULL */
    size_t top_columns;   /* width of the two arrays of alternatives, at least max_logprobs */
    int32_t *tokens;      /* [n_draws] and so on: what was drawn */
    double *logprobs;
    int32_t *top_tokens; /* [n_draws, top_columns] */
    double *top_logprobs;
    int32_t *status;
};

/* Return NULL without memory or threads. */
struct sampler *sampler_new(const struct kernels *kernels, size_t n_vocab, size_t max_slots,
                            int32_t max_logprobs, size_t threads);
void sampler_free(struct sampler *s);

/* Check slots and rows; `at` is the draw at fault. After this, sampler_draw() cannot fail. */
enum sampler_fault sampler_prepare(struct sampler *s, const struct sampler_batch *batch, size_t *at);

/* Draw for every slot of a prepared batch, count the tokens and advance the slots. A row that cannot be
 * drawn from gives its own draws a status and the token -1, and leaves their slots as they were. Allocates
 * nothing. */
void sampler_draw(struct sampler *s, const struct sampler_batch *batch);

/* Score tokens[i] in row i, with k <= top_columns alternatives. `slots` and `rows` are not read. A row that
 * cannot be used gets a status and no scores. Allocates nothing. */
void sampler_score(struct sampler *s, const struct sampler_batch *batch, int32_t k);

/* Read a row and write all tokens that a slot may draw, under a mask (NULL: none), into the candidates of
 * workspace 0. Draw nothing. */
enum row_status sampler_distribution(struct sampler *s, const float *logits, size_t slot,
                                     const uint32_t *mask);

#endif
