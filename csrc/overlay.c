#include "overlay.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

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
    if (overlay->count > 0) { /* one stretch of zeros is faster than many single ones */
        const size_t first = (size_t)overlay->id[0] / 64, last = (size_t)overlay->id[overlay->count - 1] / 64;
        memset(overlay->cover + first, 0, (last - first + 1) * sizeof *overlay->cover);
    }
    overlay->count = 0;
}

static void cover_tokens(struct overlay *overlay, const struct slot *slot)
{
    const size_t count = slot->n_adjusted;
    int32_t *restrict id = overlay->id;
    uint64_t *restrict cover = overlay->cover;
    slot_adjust(slot, overlay->row->logit, overlay->raw, overlay->logit);
    for (size_t i = 0; i < count; i++) {
        id[i] = slot->adjusted[i].id;
        cover[(uint32_t)id[i] / 64] |= (uint64_t)1 << ((uint32_t)id[i] % 64);
    }
    overlay->count = count;
    overlay->padded = block_count(count) * BLOCK;
    for (size_t i = count; i < overlay->padded; i++) {
        overlay->logit[i] = overlay->raw[i] = -INFINITY;
    }
    overlay->covered_max = overlay->row->kernels->largest(overlay->logit, overlay->padded);
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
    const size_t near = row_gather(row, least, overlay->cover, row->near_id, row->near_logit);
    for (size_t i = 0; i < near; i++) {
        max = (double)row->near_logit[i] > max ? (double)row->near_logit[i] : max;
    }
    return max;
}

void overlay_build(struct overlay *overlay, struct row *row, const struct slot *slot)
{
    uncover(overlay);
    overlay->row = row;
    cover_tokens(overlay, slot);
    const double max = (double)row->max;
    overlay->bound = overlay->covered_max > max ? overlay->covered_max : max;
}

const double *overlay_mass_change(struct overlay *overlay, double origin, double per_nat, double *laid_total,
                                  double *raw_total)
{
    const struct kernels *kernels = overlay->row->kernels;
    const size_t padded = overlay->padded;
    double *laid = overlay->mass, *raw = overlay->mass + padded;
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
