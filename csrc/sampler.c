#include "sampler.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "thread_pool.h"
#include "random.h"

/* --- life ----------------------------------------------------------------------------------------------- */

/* Take the arrays; the arena says whether there was memory for all of them. */
static void take_arrays(struct sampler *s)
{
    struct arena *arena = &s->arena;
    s->slots = arena_take(arena, s->max_slots, sizeof *s->slots);
    s->in_batch = arena_take(arena, s->max_slots, sizeof *s->in_batch);
    s->run = arena_take(arena, s->max_slots + 1, sizeof *s->run);
    s->workspaces = arena_take(arena, s->threads, sizeof *s->workspaces);
    for (size_t i = 0; i < s->threads && !arena->failed; i++) {
        row_init(&s->workspaces[i].row, arena, s->kernels, s->n_vocab, s->max_logprobs);
        row_init(&s->workspaces[i].masked, arena, s->kernels, s->n_vocab, 0);
        distribution_init(&s->workspaces[i].distribution, arena, s->kernels, s->n_vocab);
    }
}

struct sampler *sampler_new(const struct kernels *kernels, size_t n_vocab, size_t max_slots,
                            int32_t max_logprobs, size_t threads)
{
    struct sampler *s = calloc(1, sizeof *s);
    if (s == NULL) {
        return NULL;
    }
    s->kernels = kernels;
    s->n_vocab = n_vocab;
    s->max_slots = max_slots;
    s->max_logprobs = max_logprobs;
    s->threads = threads;
    take_arrays(s);
    if (!s->arena.failed && threads > 1) {
        s->pool = thread_pool_new(threads);
    }
    if (s->arena.failed || (threads > 1 && s->pool == NULL)) {
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
    thread_pool_free(s->pool);
    for (size_t i = 0; s->slots != NULL && i < s->max_slots; i++) {
        slot_clear(&s->slots[i]);
    }
    arena_free(&s->arena);
    free(s);
}

/* --- a batch -------------------------------------------------------------------------------------------- */

static size_t row_of(const struct sampler_batch *batch, size_t i)
{
    return batch->rows != NULL ? (size_t)batch->rows[i] : i;
}

/* Return the number of the mask of draw i; -1 if it has none. */
static int64_t mask_number(const struct sampler_batch *batch, size_t i)
{
    if (batch->mask_rows != NULL) {
        return batch->mask_rows[i];
    }
    return batch->n_masks > 0 ? (int64_t)i : -1;
}

static struct mask mask_of_draw(const struct sampler *s, const struct sampler_batch *batch, size_t i)
{
    const int64_t number = mask_number(batch, i);
    const uint32_t *words = number >= 0 ? batch->masks + (size_t)number * mask_words(s->n_vocab) : NULL;
    return mask_of(s->kernels, words, s->n_vocab);
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
    if (s->in_batch[slot]) {
        return SAMPLER_SLOT_TWICE;
    }
    if ((batch->rows != NULL && batch->rows[i] < 0) || row_of(batch, i) >= batch->n_rows) {
        return SAMPLER_BAD_ROW;
    }
    if (mask_number(batch, i) < -1 || mask_number(batch, i) >= (int64_t)batch->n_masks) {
        return SAMPLER_BAD_MASK;
    }
    s->in_batch[slot] = 1;
    return SAMPLER_OK;
}

enum sampler_fault sampler_prepare(struct sampler *s, const struct sampler_batch *batch, size_t *at)
{
    enum sampler_fault fault = SAMPLER_OK;
    memset(s->in_batch, 0, s->max_slots);
    s->runs = 0;
    for (size_t i = 0; i < batch->n_draws && fault == SAMPLER_OK; i++) {
        *at = i;
        fault = check_draw(s, batch, i);
        if (i == 0 || row_of(batch, i) != row_of(batch, i - 1)) {
            s->run[s->runs++] = i;
        }
    }
    s->run[s->runs] = batch->n_draws;
    return fault;
}

/* step 1: log-probabilities of token i, with k alternatives (-1: none at all). Its status and token are set.
 */
static void write_logprobs(struct row *row, const struct sampler_batch *batch, size_t i, int32_t k)
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
    row_need_total(row);
    row_need_top(row, k);
    batch->logprobs[i] = row_logprob(row, row->logit[batch->tokens[i]]);
    for (int32_t column = 0; column < k && column < row->top_count; column++) {
        top_token[column] = row->top_id[column];
        top_logprob[column] = row_logprob(row, row->top_logit[column]);
    }
}

/* step 8: make draw i from the distribution of its run. */
static void draw_token(struct workspace *workspace, const struct slot *slot, const struct sampler_batch *batch,
                       size_t i, enum row_status status)
{
    batch->status[i] = (int32_t)status;
    batch->tokens[i] = -1;
    if (status == ROW_OK) {
        const double uniform = draw_uniform(slot->params.seed, slot->params.rng_stream, slot->position);
        batch->tokens[i] = distribution_draw(&workspace->distribution, uniform);
    }
    write_logprobs(&workspace->row, batch, i, slot->params.logprobs);
}

/* Return true if any of the draws wants log-probabilities. */
static bool wants_total(const struct sampler *s, const struct sampler_batch *batch, size_t first, size_t end)
{
    for (size_t i = first; i < end; i++) {
        if (s->slots[batch->slots[i]].params.logprobs >= 0) {
            return true;
        }
    }
    return false;
}

/* Return the row that a slot's distribution is built on. Read it, as far as no earlier draw of its run did.
 */
static struct row *row_for(struct workspace *workspace, const struct slot *slot, struct mask mask,
                           const float *logits, bool total, bool first)
{
    const size_t n_vocab = workspace->row.n;
    const double temperature = distribution_weighing(slot, mask, n_vocab);
    const bool masked = mask.words != NULL && temperature != 0.0;
    if (first) {
        workspace->mask = NULL;
        workspace->read = false;
    }
    if (masked && workspace->mask != mask.words) {
        row_read_masked(&workspace->row, &workspace->masked, mask.words, logits, total, temperature);
        workspace->mask = mask.words;
        workspace->read = total;
    } else if (mask.narrow && !total) {
        if (first) {
            row_skim(&workspace->row, logits);
        }
    } else if (!workspace->read) {
        row_read(&workspace->row, logits, total, temperature);
        workspace->read = true;
    }
    return masked ? &workspace->masked : &workspace->row;
}

/* Read a row where that is to be done, and build a slot's distribution. */
static enum row_status build(struct workspace *workspace, const struct slot *slot, struct mask mask,
                             const float *logits, bool total, bool first)
{
    struct row *row = row_for(workspace, slot, mask, logits, total, first);
    if (row->status != ROW_OK) {
        return row->status;
    }
    return distribution_build(&workspace->distribution, row, slot, mask);
}

struct sampling {
    struct sampler *sampler;
    const struct sampler_batch *batch;
};

/* Make the draws of one run, which read the same row. */
static void draw_run(void *context, size_t worker, size_t run)
{
    const struct sampling *sampling = context;
    const struct sampler *s = sampling->sampler;
    const struct sampler_batch *batch = sampling->batch;
    struct workspace *workspace = &s->workspaces[worker];
    const size_t first = s->run[run], end = s->run[run + 1];
    const float *logits = batch->logits + row_of(batch, first) * s->n_vocab;
    const bool total = wants_total(s, batch, first, end);
    const struct slot *previous = NULL;
    enum row_status status = ROW_OK;
    for (size_t i = first; i < end; i++) {
        const struct slot *slot = &s->slots[batch->slots[i]];
        /* The n choices of one prompt have the same distribution: one pass serves them all. */
        if (previous == NULL || mask_number(batch, i) != mask_number(batch, i - 1) ||
            !slot_same_distribution(slot, previous)) {
            status = build(workspace, slot, mask_of_draw(s, batch, i), logits, total, i == first);
        }
        draw_token(workspace, slot, batch, i, status);
        previous = slot;
    }
}

/* In a smaller batch, waking a thread takes longer than its share of the work. */
enum { ENTRIES_WORTH_A_THREAD = 65536 };

/* Call work() for each of `count` rows, on all threads if that is worth it. */
static void for_each_row(struct sampler *s, void (*work)(void *, size_t, size_t), void *context, size_t count)
{
    if (s->pool != NULL && count > 1 && count * s->n_vocab >= ENTRIES_WORTH_A_THREAD) {
        thread_pool_run(s->pool, work, context, count);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        work(context, 0, i);
    }
}

void sampler_draw(struct sampler *s, const struct sampler_batch *batch)
{
    struct sampling sampling = {s, batch};
    for_each_row(s, draw_run, &sampling, s->runs);
    /* Only now, so that no draw sees a slot that has been advanced in this call. */
    for (size_t i = 0; i < batch->n_draws; i++) {
        if (batch->status[i] == ROW_OK) {
            slot_advance(&s->slots[batch->slots[i]], batch->tokens[i]);
        }
    }
}

struct scoring {
    struct sampler *sampler;
    const struct sampler_batch *batch;
    int32_t alternatives;
};

static void score_row(void *context, size_t worker, size_t i)
{
    const struct scoring *scoring = context;
    struct row *row = &scoring->sampler->workspaces[worker].row;
    row_read(row, scoring->batch->logits + i * scoring->sampler->n_vocab, true, 0.0);
    scoring->batch->status[i] = (int32_t)row->status;
    write_logprobs(row, scoring->batch, i, scoring->alternatives);
}

void sampler_score(struct sampler *s, const struct sampler_batch *batch, int32_t k)
{
    struct scoring scoring = {s, batch, k};
    for_each_row(s, score_row, &scoring, batch->n_rows);
}

enum row_status sampler_distribution(struct sampler *s, const float *logits, size_t slot,
                                     const uint32_t *mask)
{
    struct workspace *workspace = &s->workspaces[0];
    const struct mask of_words = mask_of(s->kernels, mask, s->n_vocab);
    const enum row_status status = build(workspace, &s->slots[slot], of_words, logits, false, true);
    if (status == ROW_OK) {
        distribution_write_out(&workspace->distribution);
    }
    return status;
}
