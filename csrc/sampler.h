/* The sampler: slots with parameters, and one call that draws for a whole batch. No Python in here. */
#ifndef NUCLEUS_SAMPLER_H
#define NUCLEUS_SAMPLER_H

#include <stddef.h>
#include <stdint.h>

#include "distribution.h"
#include "raw.h"
#include "slot.h"

struct sampler {
    size_t n_vocab;
    size_t max_slots;
    int32_t max_logprobs;
    struct slot *slots;   /* [max_slots] */
    unsigned char *taken; /* [max_slots] while arguments are checked */
    struct raw_row raw;
    struct distribution distribution;
};

/* What can be wrong with a call; `at` says where in the batch. */
enum sampler_fault {
    SAMPLER_OK = 0,
    SAMPLER_BAD_SLOT = 1,
    SAMPLER_CLOSED_SLOT = 2,
    SAMPLER_SLOT_TWICE = 3,
    SAMPLER_BAD_ROW = 4,
    SAMPLER_NO_MEMORY = 5
};

/* One batch: draw i is for slots[i] and reads row rows[i] (row i when rows is NULL). */
struct sampler_batch {
    const float *logits; /* [n_rows, n_vocab] */
    size_t n_rows;
    size_t n_draws;
    const int32_t *slots; /* [n_draws] */
    const int32_t *rows;  /* [n_draws] or NULL */
    size_t top_columns;   /* width of the two arrays of alternatives, at least max_logprobs */
    int32_t *tokens;      /* [n_draws] and so on: what was drawn */
    double *logprobs;
    int32_t *top_tokens; /* [n_draws, top_columns] */
    double *top_logprobs;
    int32_t *status;
};

/* NULL without memory. */
struct sampler *sampler_new(size_t n_vocab, size_t max_slots, int32_t max_logprobs);
void sampler_free(struct sampler *s);

/* Check slots and rows, and reserve all the memory that the batch can need: after SAMPLER_OK,
 * sampler_draw() cannot fail, and nothing was drawn or changed otherwise. */
enum sampler_fault sampler_prepare(struct sampler *s, const struct sampler_batch *batch, size_t *at);

/* Draw for every slot of a prepared batch, count the tokens and advance the slots. A row that cannot be
 * drawn from gives its own draws a status and the token -1, and leaves their slots as they were. */
void sampler_draw(struct sampler *s, const struct sampler_batch *batch);

/* Read a row and build a slot's distribution without drawing; the result is in s->distribution. */
enum row_status sampler_distribution(struct sampler *s, const float *logits, size_t slot);

#endif
