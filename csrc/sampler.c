#include "sampler.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "blocks.h"
#include "random.h"

struct sampler *sampler_new(size_t n_vocab, size_t max_slots, int32_t max_logprobs)
{
    struct sampler *s = calloc(1, sizeof *s);
    if (s == NULL) {
        return NULL;
    }
    const size_t tops = max_logprobs > 0 ? (size_t)max_logprobs : 1;
    s->n_vocab = s->raw.n = n_vocab;
    s->max_slots = max_slots;
    s->max_logprobs = max_logprobs;
    s->slots = calloc(max_slots, sizeof *s->slots);
    s->taken = calloc(max_slots, sizeof *s->taken);
    s->raw.block_max = malloc(block_count(n_vocab) * sizeof *s->raw.block_max);
    s->raw.top_id = malloc(tops * sizeof *s->raw.top_id);
    s->raw.top_logit = malloc(tops * sizeof *s->raw.top_logit);
    if (s->slots == NULL || s->taken == NULL || s->raw.block_max == NULL || s->raw.top_id == NULL ||
        s->raw.top_logit == NULL || !distribution_init(&s->distribution, n_vocab)) {
        sampler_free(s);
        return NULL;
    }
    return s;
}

void sampler_free(struct sampler *s)
{
    if (s == NULL) {
        return;
    }
    for (size_t i = 0; s->slots != NULL && i < s->max_slots; i++) {
        slot_clear(&s->slots[i]);
    }
    free(s->slots);
    free(s->taken);
    free(s->raw.block_max);
    free(s->raw.top_id);
    free(s->raw.top_logit);
    distribution_clear(&s->distribution);
    free(s);
}

static size_t row_of(const struct sampler_batch *batch, size_t i)
{
    return batch->rows != NULL ? (size_t)batch->rows[i] : i;
}

static enum sampler_fault check_draw(struct sampler *s, const struct sampler_batch *batch, size_t i)
{
    const int32_t slot = batch->slots[i];
    if (slot < 0 || (size_t)slot >= s->max_slots) {
        return SAMPLER_BAD_SLOT;
    }
    if (!s->slots[slot].open) {
        return SAMPLER_CLOSED_SLOT;
    }
    if (s->taken[slot]) {
        return SAMPLER_SLOT_TWICE;
    }
    if ((batch->rows != NULL && batch->rows[i] < 0) || row_of(batch, i) >= batch->n_rows) {
        return SAMPLER_BAD_ROW;
    }
    s->taken[slot] = 1;
    return slot_reserve(&s->slots[slot]) ? SAMPLER_OK : SAMPLER_NO_MEMORY;
}

enum sampler_fault sampler_prepare(struct sampler *s, const struct sampler_batch *batch, size_t *at)
{
    enum sampler_fault fault = SAMPLER_OK;
    memset(s->taken, 0, s->max_slots);
    for (size_t i = 0; i < batch->n_draws && fault == SAMPLER_OK; i++) {
        *at = i;
        fault = check_draw(s, batch, i);
    }
    return fault;
}

/* Log-probabilities of draw i, as far as its slot asked for them; status and token are already in place. */
static void write_logprobs(struct sampler *s, const struct sampler_batch *batch, size_t i, int32_t k)
{
    int32_t *top_token = batch->top_tokens + i * batch->top_columns;
    double *top_logprob = batch->top_logprobs + i * batch->top_columns;
    for (size_t column = 0; column < batch->top_columns; column++) {
        top_token[column] = -1;
        top_logprob[column] = NAN;
    }
    batch->logprobs[i] = NAN;
    if (batch->status[i] != ROW_OK || k < 0) {
        return;
    }
    raw_need_total(&s->raw);
    raw_need_top(&s->raw, k);
    batch->logprobs[i] = raw_logprob(&s->raw, (double)s->raw.logit[batch->tokens[i]]);
    for (int32_t column = 0; column < k && column < s->raw.top_count; column++) {
        top_token[column] = s->raw.top_id[column];
        top_logprob[column] = raw_logprob(&s->raw, s->raw.top_logit[column]);
    }
}

/* Draw i from the distribution that is in place. */
static void draw_token(struct sampler *s, const struct sampler_batch *batch, size_t i, enum row_status status)
{
    struct slot *slot = &s->slots[batch->slots[i]];
    batch->status[i] = (int32_t)status;
    batch->tokens[i] = -1;
    if (status == ROW_OK) {
        const double uniform = draw_uniform(slot->params.seed, slot->params.stream, slot->position);
        batch->tokens[i] = distribution_draw(&s->distribution, uniform);
    }
    write_logprobs(s, batch, i, slot->params.logprobs);
}

/* Apply a slot's parameters to the row that was read. */
static enum row_status build(struct sampler *s, const struct slot *slot)
{
    return s->raw.status == ROW_OK ? distribution_build(&s->distribution, &s->raw, slot) : s->raw.status;
}

void sampler_draw(struct sampler *s, const struct sampler_batch *batch)
{
    enum row_status status = ROW_OK;
    for (size_t i = 0; i < batch->n_draws; i++) {
        const struct slot *slot = &s->slots[batch->slots[i]];
        const int same_row = i > 0 && row_of(batch, i) == row_of(batch, i - 1);
        if (!same_row) {
            raw_read(&s->raw, batch->logits + row_of(batch, i) * s->n_vocab);
        }
        /* The n choices of one prompt read the same row alike: one pass serves them all. */
        if (!same_row || !slot_same_distribution(slot, &s->slots[batch->slots[i - 1]])) {
            status = build(s, slot);
        }
        draw_token(s, batch, i, status);
    }
    /* Only now, so that a draw never meets a neighbour's slot half advanced. */
    for (size_t i = 0; i < batch->n_draws; i++) {
        if (batch->status[i] == ROW_OK) {
            slot_advance(&s->slots[batch->slots[i]], batch->tokens[i]);
        }
    }
}

enum row_status sampler_distribution(struct sampler *s, const float *logits, size_t slot)
{
    raw_read(&s->raw, logits);
    return build(s, &s->slots[slot]);
}
