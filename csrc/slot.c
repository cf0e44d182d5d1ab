#include "slot.h"

#include <float.h>
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

static bool counts_generated(const struct slot *slot)
{
    return slot->params.presence_penalty != 0.0 || slot->params.frequency_penalty != 0.0;
}

static bool repeats(const struct slot *slot)
{
    return slot->params.repetition_penalty != 1.0;
}

/* --- tokens seen ---------------------------------------------------------------------------------------- */

/* Where `token` is, or where it would go. Fibonacci hashing spreads the runs of ids that texts are made
 * of. */
static size_t seen_find(const struct seen_tokens *seen, int32_t token)
{
    const size_t mask = seen->capacity - 1;
    size_t at = (size_t)(((uint64_t)(uint32_t)token * 0x9E3779B97F4A7C15u) >> 32) & mask;
    while (seen->id[at] != token && seen->id[at] != -1) {
        at = (at + 1) & mask;
    }
    return at;
}

static bool seen_grow(struct seen_tokens *seen)
{
    const size_t capacity = seen->capacity ? seen->capacity * 2 : 64;
    struct seen_tokens grown = {malloc(capacity * sizeof(int32_t)), malloc(capacity * sizeof(int32_t)),
                                capacity, seen->used};
    if (grown.id == NULL || grown.count == NULL) {
        free(grown.id);
        free(grown.count);
        return false;
    }
    memset(grown.id, 0xFF, capacity * sizeof(int32_t)); /* all -1 */
    for (size_t i = 0; i < seen->capacity; i++) {
        if (seen->id[i] != -1) {
            const size_t at = seen_find(&grown, seen->id[i]);
            grown.id[at] = seen->id[i];
            grown.count[at] = seen->count[i];
        }
    }
    free(seen->id);
    free(seen->count);
    *seen = grown;
    return true;
}

static bool seen_reserve(struct seen_tokens *seen)
{
    return seen->used * 2 < seen->capacity || seen_grow(seen);
}

static void seen_add(struct seen_tokens *seen, int32_t token, int32_t times)
{
    const size_t at = seen_find(seen, token);
    if (seen->id[at] == -1) {
        seen->id[at] = token;
        seen->count[at] = 0;
        seen->used++;
    }
    seen->count[at] += times;
}

/* --- life of a slot ------------------------------------------------------------------------------------- */

bool slot_init(struct slot *slot, const struct params *params, const int32_t *bias_id, const double *bias,
               size_t n_bias)
{
    *slot = (struct slot){.open = true, .params = *params, .n_bias = n_bias};
    if (n_bias == 0) {
        return true;
    }
    slot->bias_id = malloc(n_bias * sizeof *slot->bias_id);
    slot->bias = malloc(n_bias * sizeof *slot->bias);
    if (slot->bias_id == NULL || slot->bias == NULL) {
        slot_clear(slot);
        return false;
    }
    memcpy(slot->bias_id, bias_id, n_bias * sizeof *slot->bias_id);
    memcpy(slot->bias, bias, n_bias * sizeof *slot->bias);
    return true;
}

void slot_clear(struct slot *slot)
{
    free(slot->bias_id);
    free(slot->bias);
    free(slot->seen.id);
    free(slot->seen.count);
    *slot = (struct slot){.open = false};
}

bool slot_note_prompt(struct slot *slot, const int32_t *tokens, size_t n)
{
    if (!repeats(slot)) {
        return true; /* the prompt matters to no other penalty */
    }
    for (size_t i = 0; i < n; i++) {
        if (!seen_reserve(&slot->seen)) {
            return false;
        }
        seen_add(&slot->seen, tokens[i], 0);
    }
    return true;
}

bool slot_reserve(struct slot *slot)
{
    return (!repeats(slot) && !counts_generated(slot)) || seen_reserve(&slot->seen);
}

void slot_advance(struct slot *slot, int32_t token)
{
    if (repeats(slot) || counts_generated(slot)) {
        seen_add(&slot->seen, token, 1);
    }
    slot->position++;
}

/* --- what a slot does to logits ------------------------------------------------------------------------- */

bool slot_penalizes(const struct slot *slot)
{
    return slot->seen.used > 0;
}

bool slot_adjusts(const struct slot *slot)
{
    return slot->n_bias > 0 || slot_penalizes(slot);
}

/* Extreme penalties may overflow; an infinity would turn the next step into NaN, the largest double does
 * not. */
static double clamp_finite(double x)
{
    return x > DBL_MAX ? DBL_MAX : (x < -DBL_MAX ? -DBL_MAX : x);
}

void slot_adjust(const struct slot *slot, double *logit)
{
    const struct params *p = &slot->params;
    for (size_t i = 0; i < slot->n_bias; i++) {
        logit[slot->bias_id[i]] += slot->bias[i];
    }
    for (size_t i = 0; i < slot->seen.capacity; i++) {
        const int32_t token = slot->seen.id[i];
        if (token == -1 || logit[token] == -INFINITY) {
            continue; /* banned stays banned */
        }
        double l = logit[token];
        if (repeats(slot)) {
            l = clamp_finite(l > 0.0 ? l / p->repetition_penalty : l * p->repetition_penalty);
        }
        const int32_t count = slot->seen.count[i];
        if (count > 0) {
            l = clamp_finite(l - clamp_finite(count * p->frequency_penalty + p->presence_penalty));
        }
        logit[token] = l;
    }
}

bool slot_same_distribution(const struct slot *a, const struct slot *b)
{
    const struct params *p = &a->params, *q = &b->params;
    return p->temperature == q->temperature && p->top_p == q->top_p && p->min_p == q->min_p &&
           p->top_k == q->top_k && !slot_penalizes(a) && !slot_penalizes(b) && a->n_bias == b->n_bias &&
           (a->n_bias == 0 || (memcmp(a->bias_id, b->bias_id, a->n_bias * sizeof *a->bias_id) == 0 &&
                               memcmp(a->bias, b->bias, a->n_bias * sizeof *a->bias) == 0));
}
