#include "slot.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

bool params_valid(const struct params *p)
{
    return isfinite(p->temperature) && p->temperature >= 0.0 && p->top_p > 0.0 && p->top_p <= 1.0 &&
           p->min_p >= 0.0 && p->min_p <= 1.0 && isfinite(p->presence_penalty) &&
           isfinite(p->frequency_penalty) && isfinite(p->repetition_penalty) && p->repetition_penalty > 0.0 &&
           p->top_k >= 0 && p->logprobs >= -1;
}

static bool penalizes(const struct params *p)
{
    return p->presence_penalty != 0.0 || p->frequency_penalty != 0.0 || p->repetition_penalty != 1.0;
}

/* Bound a bias or penalty. Extreme ones might add up to an infinity, which the next step would turn into NaN;
 * three bounded ones do not. */
static double bounded(double x)
{
    const double most = 1e300;
    if (x > most) {
        return most;
    }
    return x < -most ? -most : x;
}

/* --- adjustments ---------------------------------------------------------------------------------------- */

/* Return the place of the first adjustment whose token is not below `token`. */
static size_t first_adjustment(const struct slot *slot, int32_t token)
{
    size_t low = 0, high = slot->n_adjustments;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (slot->adjustments[middle].id < token) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* Return the adjustment of a token; make one if it has none. */
static struct adjustment *adjustment_of(struct slot *slot, int32_t token)
{
    const size_t at = first_adjustment(slot, token);
    struct adjustment *entry = slot->adjustments + at;
    if (at == slot->n_adjustments || entry->id != token) {
        memmove(entry + 1, entry, (slot->n_adjustments++ - at) * sizeof *entry);
        *entry = (struct adjustment){.id = token, .times = NOT_SEEN};
    }
    return entry;
}

/* Count a token that is in the prompt or was generated. */
static void count_token(struct slot *slot, int32_t token, bool generated)
{
    const struct params *p = &slot->params;
    struct adjustment *entry = adjustment_of(slot, token);
    entry->times = (entry->times == NOT_SEEN ? 0 : entry->times) + generated;
    if (entry->times > 0) {
        entry->penalty = bounded(entry->times * bounded(p->frequency_penalty) + bounded(p->presence_penalty));
    }
}

/* --- what a choice starts from -------------------------------------------------------------------------- */

enum mark { BIASED, IN_PROMPT, GENERATED, MARKS };

static int compare(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static size_t mark_tokens(int64_t *marked, size_t n, const int32_t *tokens, size_t n_tokens, enum mark mark)
{
    for (size_t i = 0; i < n_tokens; i++) {
        marked[n + i] = (int64_t)tokens[i] * MARKS + mark;
    }
    return n + n_tokens;
}

/* Add what a choice starts from, in order of the tokens, so that no adjustment has to be moved. */
static bool add_first_adjustments(struct slot *slot, const struct slot_start *start)
{
    const bool counts = penalizes(&slot->params);
    int64_t *marked = malloc((start->n_bias + start->n_prompt + start->n_generated + 1) * sizeof *marked);
    if (marked == NULL) {
        return false;
    }
    size_t n = mark_tokens(marked, 0, start->bias_id, start->n_bias, BIASED);
    if (slot->params.repetition_penalty != 1.0) { /* the prompt counts for this penalty only */
        n = mark_tokens(marked, n, start->prompt, start->n_prompt, IN_PROMPT);
    }
    if (counts) {
        n = mark_tokens(marked, n, start->generated, start->n_generated, GENERATED);
    }
    qsort(marked, n, sizeof *marked, compare);
    size_t biases = 0;
    for (size_t i = 0; i < n; i++) {
        const int32_t token = (int32_t)(marked[i] / MARKS);
        const enum mark mark = (enum mark)(marked[i] % MARKS);
        if (mark == BIASED) {
            const double bias = start->bias[biases++];
            adjustment_of(slot, token)->bias = bias > -INFINITY ? bounded(bias) : bias;
        } else {
            count_token(slot, token, mark == GENERATED);
        }
    }
    free(marked);
    return true;
}

bool slot_init(struct slot *slot, size_t n_vocab, const struct params *params, const struct slot_start *start)
{
    const size_t room = penalizes(params) ? n_vocab : start->n_bias;
    *slot = (struct slot){.open = true, .params = *params, .position = start->n_generated};
    if (room == 0) {
        return true;
    }
    slot->adjustments = malloc(room * sizeof *slot->adjustments);
    if (slot->adjustments != NULL && add_first_adjustments(slot, start)) {
        return true;
    }
    slot_clear(slot);
    return false;
}

void slot_clear(struct slot *slot)
{
    free(slot->adjustments);
    *slot = (struct slot){.open = false};
}

void slot_advance(struct slot *slot, int32_t token)
{
    if (penalizes(&slot->params)) {
        count_token(slot, token, true);
    }
    slot->position++;
}

/* --- logits --------------------------------------------------------------------------------------------- */

void slot_adjust(const struct slot *slot, const float *row, double *raw, double *logit)
{
    const struct adjustment *adjustments = slot->adjustments;
    const size_t count = slot->n_adjustments;
    const double by = slot->params.repetition_penalty;
    double *restrict before = raw, *restrict after = logit;
    /* step 2: bias */
    for (size_t i = 0; i < count; i++) {
        before[i] = (double)row[adjustments[i].id];
        after[i] = before[i] + adjustments[i].bias;
    }
    /* step 3: penalties; repetition first */
    for (size_t i = 0; by != 1.0 && i < count; i++) {
        if (adjustments[i].times != NOT_SEEN && after[i] > -INFINITY) {
            after[i] = bounded(after[i] > 0.0 ? after[i] / by : after[i] * by);
        }
    }
    for (size_t i = 0; i < count; i++) {
        after[i] -= adjustments[i].penalty;
    }
}

/* --- comparison ----------------------------------------------------------------------------------------- */

static bool same_adjustments(const struct slot *a, const struct slot *b)
{
    const size_t count = a->n_adjustments;
    return count == b->n_adjustments &&
           (count == 0 || memcmp(a->adjustments, b->adjustments, count * sizeof *a->adjustments) == 0);
}

bool slot_same_distribution(const struct slot *a, const struct slot *b)
{
    const struct params *p = &a->params, *q = &b->params;
    return p->temperature == q->temperature && p->top_p == q->top_p && p->min_p == q->min_p &&
           p->top_k == q->top_k && p->repetition_penalty == q->repetition_penalty && same_adjustments(a, b);
}
