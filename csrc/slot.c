#include "slot.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "search.h"

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

/* Extreme biases and penalties might add up to an infinity, which would turn the next step into NaN. Within
 * these bounds no three do. */
static double bounded(double x)
{
    const double most = 1e300;
    return x > most ? most : (x < -most ? -most : x);
}

/* --- adjusted tokens ------------------------------------------------------------------------------------ */

static bool adjusted_init(struct adjusted *adjusted, size_t room)
{
    *adjusted = (struct adjusted){0};
    if (room == 0) {
        return true;
    }
    adjusted->id = malloc(room * sizeof *adjusted->id);
    adjusted->times = malloc(room * sizeof *adjusted->times);
    adjusted->bias = malloc(room * sizeof *adjusted->bias);
    adjusted->taken = malloc(room * sizeof *adjusted->taken);
    return adjusted->id != NULL && adjusted->times != NULL && adjusted->bias != NULL && adjusted->taken != NULL;
}

static void adjusted_clear(struct adjusted *adjusted)
{
    free(adjusted->id);
    free(adjusted->times);
    free(adjusted->bias);
    free(adjusted->taken);
    *adjusted = (struct adjusted){0};
}

static void make_room(struct adjusted *adjusted, size_t at)
{
    const size_t behind = adjusted->count++ - at;
    memmove(adjusted->id + at + 1, adjusted->id + at, behind * sizeof *adjusted->id);
    memmove(adjusted->times + at + 1, adjusted->times + at, behind * sizeof *adjusted->times);
    memmove(adjusted->bias + at + 1, adjusted->bias + at, behind * sizeof *adjusted->bias);
    memmove(adjusted->taken + at + 1, adjusted->taken + at, behind * sizeof *adjusted->taken);
}

/* The place of a token, which is put there if it is new. */
static size_t place_of(struct adjusted *adjusted, int32_t token)
{
    const size_t at = first_from(adjusted->id, adjusted->count, token);
    if (at == adjusted->count || adjusted->id[at] != token) {
        make_room(adjusted, at);
        adjusted->id[at] = token;
        adjusted->times[at] = NOT_SEEN;
        adjusted->bias[at] = adjusted->taken[at] = 0.0;
    }
    return at;
}

static void see(struct slot *slot, size_t at, bool generated)
{
    struct adjusted *adjusted = &slot->adjusted;
    const struct params *p = &slot->params;
    const int32_t before = adjusted->times[at] == NOT_SEEN ? 0 : adjusted->times[at];
    adjusted->times[at] = before + generated;
    if (adjusted->times[at] > 0) {
        adjusted->taken[at] = bounded(adjusted->times[at] * bounded(p->frequency_penalty) + bounded(p->presence_penalty));
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

/* Fill in what a choice starts from, in order of the tokens, so that none has to make room. */
static bool adjust_start(struct slot *slot, const struct slot_start *start)
{
    const bool counts = penalizes(&slot->params);
    int64_t *marked = malloc((start->n_bias + start->n_prompt + start->n_generated + 1) * sizeof *marked);
    if (marked == NULL) {
        return false;
    }
    size_t n = mark_tokens(marked, 0, start->bias_id, start->n_bias, BIASED);
    if (slot->params.repetition_penalty != 1.0) { /* the prompt matters to this one only */
        n = mark_tokens(marked, n, start->prompt, start->n_prompt, IN_PROMPT);
    }
    if (counts) {
        n = mark_tokens(marked, n, start->generated, start->n_generated, GENERATED);
    }
    qsort(marked, n, sizeof *marked, compare);
    size_t biases = 0;
    for (size_t i = 0; i < n; i++) {
        const size_t at = place_of(&slot->adjusted, (int32_t)(marked[i] / MARKS));
        const enum mark mark = (enum mark)(marked[i] % MARKS);
        if (mark == BIASED) {
            const double bias = start->bias[biases++];
            slot->adjusted.bias[at] = bias > -INFINITY ? bounded(bias) : bias;
        } else {
            see(slot, at, mark == GENERATED);
        }
    }
    free(marked);
    return true;
}

bool slot_init(struct slot *slot, size_t n_vocab, const struct params *params, const struct slot_start *start)
{
    *slot = (struct slot){.open = true, .params = *params, .position = start->n_generated};
    if (adjusted_init(&slot->adjusted, penalizes(params) ? n_vocab : start->n_bias) &&
        adjust_start(slot, start)) {
        return true;
    }
    slot_clear(slot);
    return false;
}

void slot_clear(struct slot *slot)
{
    adjusted_clear(&slot->adjusted);
    *slot = (struct slot){.open = false};
}

void slot_advance(struct slot *slot, int32_t token)
{
    if (penalizes(&slot->params)) {
        see(slot, place_of(&slot->adjusted, token), true);
    }
    slot->position++;
}

/* --- logits --------------------------------------------------------------------------------------------- */

void slot_adjust(const struct slot *slot, const double *raw, double *logit)
{
    const struct adjusted *adjusted = &slot->adjusted;
    const size_t count = adjusted->count;
    const double *bias = adjusted->bias, *taken = adjusted->taken, by = slot->params.repetition_penalty;
    double *restrict x = logit;
    for (size_t i = 0; i < count; i++) {
        x[i] = raw[i] + bias[i];
    }
    for (size_t i = 0; by != 1.0 && i < count; i++) {
        if (adjusted->times[i] != NOT_SEEN && x[i] > -INFINITY) {
            x[i] = bounded(x[i] > 0.0 ? x[i] / by : x[i] * by);
        }
    }
    for (size_t i = 0; i < count; i++) {
        x[i] -= taken[i];
    }
}

/* --- comparison ----------------------------------------------------------------------------------------- */

static bool same_adjusted(const struct adjusted *a, const struct adjusted *b)
{
    return a->count == b->count &&
           (a->count == 0 || (memcmp(a->id, b->id, a->count * sizeof *a->id) == 0 &&
                              memcmp(a->times, b->times, a->count * sizeof *a->times) == 0 &&
                              memcmp(a->bias, b->bias, a->count * sizeof *a->bias) == 0 &&
                              memcmp(a->taken, b->taken, a->count * sizeof *a->taken) == 0));
}

bool slot_same_distribution(const struct slot *a, const struct slot *b)
{
    const struct params *p = &a->params, *q = &b->params;
    return p->temperature == q->temperature && p->top_p == q->top_p && p->min_p == q->min_p &&
           p->top_k == q->top_k && p->repetition_penalty == q->repetition_penalty &&
           same_adjusted(&a->adjusted, &b->adjusted);
}
