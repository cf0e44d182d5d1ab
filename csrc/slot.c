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

static bool counts_generated(const struct slot *slot)
{
    return slot->params.presence_penalty != 0.0 || slot->params.frequency_penalty != 0.0;
}

static bool repeats(const struct slot *slot)
{
    return slot->params.repetition_penalty != 1.0;
}

/* --- tokens seen ---------------------------------------------------------------------------------------- */

static void seen_add(struct seen_tokens *seen, int32_t token)
{
    const size_t at = first_from(seen->id, seen->count, token);
    if (at == seen->count || seen->id[at] != token) {
        const size_t behind = seen->count++ - at;
        memmove(seen->id + at + 1, seen->id + at, behind * sizeof *seen->id);
        memmove(seen->times + at + 1, seen->times + at, behind * sizeof *seen->times);
        seen->id[at] = token;
        seen->times[at] = 0;
    }
    seen->times[at]++;
}

static int compare(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* Fill in what a choice starts from: all tokens sorted, the generated ones marked by an odd number. */
static bool seen_start(struct seen_tokens *seen, const struct slot_start *start, bool with_prompt)
{
    const size_t n_prompt = with_prompt ? start->n_prompt : 0, n = n_prompt + start->n_generated;
    int64_t *marked = malloc((n > 0 ? n : 1) * sizeof *marked);
    if (marked == NULL) {
        return false;
    }
    for (size_t i = 0; i < n_prompt; i++) {
        marked[i] = (int64_t)start->prompt[i] * 2;
    }
    for (size_t i = n_prompt; i < n; i++) {
        marked[i] = (int64_t)start->generated[i - n_prompt] * 2 + 1;
    }
    qsort(marked, n, sizeof *marked, compare);
    for (size_t i = 0; i < n; i++) {
        const int32_t token = (int32_t)(marked[i] / 2);
        if (seen->count == 0 || seen->id[seen->count - 1] != token) {
            seen->id[seen->count] = token;
            seen->times[seen->count++] = 0;
        }
        seen->times[seen->count - 1] += (int32_t)(marked[i] % 2);
    }
    free(marked);
    return true;
}

/* --- life of a slot ------------------------------------------------------------------------------------- */

static bool copy_bias(struct slot *slot, const struct slot_start *start)
{
    if (start->n_bias == 0) {
        return true;
    }
    slot->bias_id = malloc(start->n_bias * sizeof *slot->bias_id);
    slot->bias = malloc(start->n_bias * sizeof *slot->bias);
    if (slot->bias_id == NULL || slot->bias == NULL) {
        return false;
    }
    memcpy(slot->bias_id, start->bias_id, start->n_bias * sizeof *slot->bias_id);
    memcpy(slot->bias, start->bias, start->n_bias * sizeof *slot->bias);
    return true;
}

static bool count_start(struct slot *slot, size_t n_vocab, const struct slot_start *start)
{
    if (!repeats(slot) && !counts_generated(slot)) {
        return true;
    }
    slot->seen.id = malloc(n_vocab * sizeof *slot->seen.id);
    slot->seen.times = malloc(n_vocab * sizeof *slot->seen.times);
    /* The prompt matters to the repetition penalty only. */
    return slot->seen.id != NULL && slot->seen.times != NULL && seen_start(&slot->seen, start, repeats(slot));
}

bool slot_init(struct slot *slot, size_t n_vocab, const struct params *params, const struct slot_start *start)
{
    *slot = (struct slot){
        .open = true, .params = *params, .n_bias = start->n_bias, .position = start->n_generated};
    if (copy_bias(slot, start) && count_start(slot, n_vocab, start)) {
        return true;
    }
    slot_clear(slot);
    return false;
}

void slot_clear(struct slot *slot)
{
    free(slot->bias_id);
    free(slot->bias);
    free(slot->seen.id);
    free(slot->seen.times);
    *slot = (struct slot){.open = false};
}

void slot_advance(struct slot *slot, int32_t token)
{
    if (repeats(slot) || counts_generated(slot)) {
        seen_add(&slot->seen, token);
    }
    slot->position++;
}

/* --- what a slot does to logits ------------------------------------------------------------------------- */

bool slot_adjusts(const struct slot *slot)
{
    return slot->n_bias > 0 || slot->seen.count > 0;
}

bool slot_same_distribution(const struct slot *a, const struct slot *b)
{
    const struct params *p = &a->params, *q = &b->params;
    return p->temperature == q->temperature && p->top_p == q->top_p && p->min_p == q->min_p &&
           p->top_k == q->top_k && a->seen.count == 0 && b->seen.count == 0 && a->n_bias == b->n_bias &&
           (a->n_bias == 0 || (memcmp(a->bias_id, b->bias_id, a->n_bias * sizeof *a->bias_id) == 0 &&
                               memcmp(a->bias, b->bias, a->n_bias * sizeof *a->bias) == 0));
}
