#include "adjusted.h"

#include <math.h>
#include <string.h>

#include "mask.h"

void adjusted_init(struct adjusted_row *adjusted, struct arena *arena, size_t n_vocab)
{
    const size_t padded = n_vocab + BLOCK, words = group_count(n_vocab) * (GROUP / 64);
    *adjusted = (struct adjusted_row){0};
    adjusted->id = arena_take(arena, n_vocab, sizeof *adjusted->id);
    adjusted->logit = arena_take(arena, padded, sizeof *adjusted->logit);
    adjusted->raw = arena_take(arena, padded, sizeof *adjusted->raw);
    adjusted->mass = arena_take(arena, 2 * padded, sizeof *adjusted->mass);
    adjusted->is_adjusted = arena_take(arena, words, sizeof *adjusted->is_adjusted);
}

/* Clear the bits of the last slot's tokens. */
static void forget_tokens(struct adjusted_row *adjusted)
{
    if (adjusted->count > 0) { /* clearing one range is faster than clearing many single words */
        const size_t first = (size_t)adjusted->id[0] / 64;
        const size_t last = (size_t)adjusted->id[adjusted->count - 1] / 64;
        memset(adjusted->is_adjusted + first, 0, (last - first + 1) * sizeof *adjusted->is_adjusted);
    }
    adjusted->count = 0;
}

static void adjust_tokens(struct adjusted_row *adjusted, const struct slot *slot)
{
    const size_t count = slot->n_adjustments;
    int32_t *restrict id = adjusted->id;
    uint64_t *restrict is_adjusted = adjusted->is_adjusted;
    slot_adjust(slot, adjusted->row->logit, adjusted->raw, adjusted->logit);
    for (size_t i = 0; i < count; i++) {
        id[i] = slot->adjustments[i].id;
        is_adjusted[(uint32_t)id[i] / 64] |= (uint64_t)1 << ((uint32_t)id[i] % 64);
    }
    for (size_t i = 0; adjusted->mask != NULL && i < count; i++) {
        if (!mask_allows(adjusted->mask, id[i])) {
            adjusted->logit[i] = adjusted->raw[i] = -INFINITY;
        }
    }
    adjusted->count = count;
    adjusted->padded = block_count(count) * BLOCK;
    for (size_t i = count; i < adjusted->padded; i++) {
        adjusted->logit[i] = adjusted->raw[i] = -INFINITY;
    }
    adjusted->adjusted_max = adjusted->row->kernels->largest(adjusted->logit, adjusted->padded);
}

size_t adjusted_drop_masked(const struct adjusted_row *adjusted, size_t n, int32_t *id, float *found)
{
    if (adjusted->mask == NULL) {
        return n;
    }
    size_t left = 0;
    for (size_t i = 0; i < n; i++) {
        id[left] = id[i];
        found[left] = found[i];
        left += mask_allows(adjusted->mask, id[i]);
    }
    return left;
}

size_t adjusted_gather(const struct adjusted_row *adjusted, float least, int32_t *id, float *found)
{
    const size_t n = row_gather(adjusted->row, least, adjusted->is_adjusted, id, found);
    return adjusted_drop_masked(adjusted, n, id, found);
}

/* Gather at least k tokens into the row's work space, or all if there are not so many: those that reach
 * *least. More are asked for where those of the best lanes are adjusted, or not allowed. */
static size_t gather_best(const struct adjusted_row *adjusted, size_t k, float *least)
{
    struct row *row = adjusted->row;
    for (size_t asked = k;; asked *= 8) {
        *least = row_threshold(row, asked);
        const size_t near = adjusted_gather(adjusted, *least, row->near_id, row->near_logit);
        if (near >= k || *least == -INFINITY) {
            return near;
        }
    }
}

float adjusted_threshold(const struct adjusted_row *adjusted, size_t k)
{
    float least;
    if (adjusted->mask != NULL) {
        gather_best(adjusted, k, &least);
        return least;
    }
    for (size_t asked = k;;) {
        least = row_threshold(adjusted->row, asked);
        size_t above = 0; /* adjusted tokens among those that reach it */
        for (size_t i = 0; i < adjusted->count; i++) {
            above += adjusted->raw[i] >= (double)least;
        }
        if (k + above <= asked || least == -INFINITY) {
            return least;
        }
        asked = k + above;
    }
}

double adjusted_largest(const struct adjusted_row *adjusted)
{
    const struct row *row = adjusted->row;
    double max = adjusted->adjusted_max;
    if (max >= (double)row->max) {
        return max;
    }
    float least;
    const size_t near = gather_best(adjusted, 1, &least);
    for (size_t i = 0; i < near; i++) {
        max = (double)row->near_logit[i] > max ? (double)row->near_logit[i] : max;
    }
    return max;
}

void adjusted_build(struct adjusted_row *adjusted, struct row *row, const struct slot *slot,
                    const uint32_t *mask)
{
    forget_tokens(adjusted);
    adjusted->row = row;
    adjusted->mask = mask; /* step 2: the mask */
    adjust_tokens(adjusted, slot);
    const double max = (double)row->max;
    adjusted->bound = adjusted->adjusted_max > max ? adjusted->adjusted_max : max;
}

const double *adjusted_mass_change(struct adjusted_row *adjusted, double origin, double exp_scale,
                                   double *after_total, double *before_total)
{
    const struct kernels *kernels = adjusted->row->kernels;
    const size_t padded = adjusted->padded;
    double *after = adjusted->mass, *before = adjusted->mass + padded;
    kernels->masses(adjusted->logit, padded, origin, exp_scale, after);
    kernels->masses(adjusted->raw, padded, origin, exp_scale, before);
    *after_total = *before_total = 0.0;
    for (size_t i = 0; i < padded; i += BLOCK) {
        *after_total += block_sum(after + i);
        *before_total += block_sum(before + i);
    }
    for (size_t i = 0; i < adjusted->count; i++) {
        after[i] -= before[i];
    }
    return after;
}
