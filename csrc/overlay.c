#include "overlay.h"

#include <math.h>
#include <stdlib.h>

bool overlay_init(struct overlay *overlay, size_t n_vocab)
{
    const size_t padded = n_vocab + BLOCK;
    *overlay = (struct overlay){0};
    overlay->id = malloc(n_vocab * sizeof *overlay->id);
    overlay->logit = malloc(padded * sizeof *overlay->logit);
    overlay->raw = malloc(padded * sizeof *overlay->raw);
    overlay->mass = malloc(2 * padded * sizeof *overlay->mass);
    overlay->cover = calloc(group_count(n_vocab) * (GROUP / 64), sizeof *overlay->cover);
    if (overlay->id == NULL || overlay->logit == NULL || overlay->raw == NULL || overlay->mass == NULL ||
        overlay->cover == NULL) {
        overlay_clear(overlay);
        return false;
    }
    return true;
}

void overlay_clear(struct overlay *overlay)
{
    free(overlay->id);
    free(overlay->logit);
    free(overlay->raw);
    free(overlay->mass);
    free(overlay->cover);
    *overlay = (struct overlay){0};
}

static void uncover(struct overlay *overlay)
{
    uint64_t *cover = overlay->cover;
    const int32_t *id = overlay->id;
    for (size_t i = 0, count = overlay->count; i < count; i++) {
        cover[(uint32_t)id[i] / 64] = 0;
    }
    overlay->count = 0;
}

/* Two ascending lists become one: tokens with a bias, and tokens seen. */
static void cover_tokens(struct overlay *overlay, const struct slot *slot)
{
    const int32_t *bias_ids = slot->bias_id, *seen_ids = slot->seen.id, *times = slot->seen.times;
    const size_t n_bias = slot->n_bias, n_seen = slot->seen.count;
    const struct params params = slot->params;
    const float *row = overlay->row->logit;
    int32_t *restrict ids = overlay->id;
    double *restrict raws = overlay->raw, *restrict logits = overlay->logit;
    uint64_t *restrict cover = overlay->cover;
    double max = -INFINITY;
    size_t count = 0, biased = 0, seen = 0;
    while (biased < n_bias || seen < n_seen) {
        const int32_t bias_id = biased < n_bias ? bias_ids[biased] : INT32_MAX;
        const int32_t seen_id = seen < n_seen ? seen_ids[seen] : INT32_MAX;
        const int32_t id = bias_id < seen_id ? bias_id : seen_id;
        double logit = (double)row[id];
        ids[count] = id;
        raws[count] = logit;
        if (bias_id == id) {
            logit += slot->bias[biased++];
        }
        if (seen_id == id) {
            logit = slot_penalized(&params, logit, times[seen++]);
        }
        logits[count++] = logit;
        cover[(uint32_t)id / 64] |= (uint64_t)1 << ((uint32_t)id % 64);
        max = logit > max ? logit : max;
    }
    overlay->count = count;
    overlay->covered_max = max;
}

float overlay_reached_by(const struct overlay *overlay, size_t k)
{
    for (size_t asked = k;;) {
        const float least = row_reached_by(overlay->row, asked);
        size_t covered = 0;
        for (size_t i = 0; i < overlay->count; i++) {
            covered += overlay->raw[i] >= (double)least;
        }
        if (k + covered <= asked || least == -INFINITY) {
            return least;
        }
        asked = k + covered;
    }
}

double overlay_largest(const struct overlay *overlay)
{
    struct row *row = overlay->row;
    double max = overlay->covered_max;
    if (max >= (double)row->max) {
        return max;
    }
    const float least = overlay_reached_by(overlay, 1);
    const size_t near = row_gather(row, least, row->near_id, row->near_logit);
    for (size_t i = 0; i < near; i++) {
        if ((double)row->near_logit[i] > max && !overlay_covers(overlay, row->near_id[i])) {
            max = (double)row->near_logit[i];
        }
    }
    return max;
}

void overlay_build(struct overlay *overlay, struct row *row, const struct slot *slot)
{
    uncover(overlay);
    overlay->row = row;
    overlay->covered_max = -INFINITY;
    if (slot_adjusts(slot)) {
        cover_tokens(overlay, slot);
    }
    const double max = (double)row->max;
    overlay->bound = overlay->covered_max > max ? overlay->covered_max : max;
}

const double *overlay_mass_change(struct overlay *overlay, double origin, double per_nat, double *laid_total,
                                  double *raw_total)
{
    const struct kernels *kernels = overlay->row->kernels;
    const size_t padded = block_count(overlay->count) * BLOCK;
    double *laid = overlay->mass, *raw = overlay->mass + padded;
    for (size_t i = overlay->count; i < padded; i++) {
        overlay->logit[i] = overlay->raw[i] = -INFINITY;
    }
    kernels->masses(overlay->logit, padded, origin, per_nat, laid);
    kernels->masses(overlay->raw, padded, origin, per_nat, raw);
    *laid_total = *raw_total = 0.0;
    for (size_t i = 0; i < padded; i += BLOCK) {
        *laid_total += block_sum(laid + i);
        *raw_total += block_sum(raw + i);
    }
    for (size_t i = 0; i < overlay->count; i++) {
        laid[i] -= raw[i];
    }
    return laid;
}
