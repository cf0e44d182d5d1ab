/* The part of row.h that reads entries: groups of them, the best ones, and all of them in float64. */
#include "row.h"

#include <math.h>
#include <string.h>

#include "mask.h"
#include "pieces.h"

const float *row_group(const struct row *row, size_t group)
{
    return (group + 1) * GROUP <= row->n ? row->logit + group * GROUP : row->tail;
}

void row_copy_group(const struct row *row, size_t group, float logit[GROUP])
{
    const float *entry = row_group(row, group);
    if (row->mask == NULL) {
        memcpy(logit, entry, GROUP * sizeof *logit);
        return;
    }
    const uint32_t *mask = group_mask(row, group);
    for (size_t j = 0; j < GROUP; j++) {
        logit[j] = mask_allows(mask, (int32_t)j) ? entry[j] : -INFINITY;
    }
}

/* Halve the interval between a logit that at least k of n maxima reach and one that fewer reach. Somewhat
 * more than k is no harm, and a few halvings cost less than the entries that they spare. */
static float raise_threshold(const struct kernels *kernels, const float *maxima, size_t n, size_t k,
                             float enough, float missed)
{
    for (int halvings = 0; halvings < 16 && enough < missed; halvings++) {
        const float middle = enough + (missed - enough) / 2.0f;
        const size_t count = kernels->count(maxima, n, middle);
        if (count < k) {
            missed = middle;
            continue;
        }
        enough = middle;
        if (count <= k + k / 4) {
            break;
        }
    }
    return enough;
}

float row_threshold(struct row *row, size_t k)
{
    const struct kernels *kernels = row->kernels;
    const float *maxima = row->folded_max;
    if (row->folded == 0) {
        row->folded = kernels->fold(row->lane_max, row->groups, PIECE_GROUPS, row->folded_max);
    }
    size_t n = row->folded;
    if (k > n / 4) { /* too many for the maxima of whole pieces, which are fewer and mostly enough */
        maxima = row->lane_max;
        n = row->groups * LANES;
    }
    if (k > n) {
        return -INFINITY;
    }
    float enough = row->max, missed = row->max, step = 1.0f;
    while (kernels->count(maxima, n, enough) < k) {
        missed = enough;
        enough = row->max - step;
        step *= 2.0f;
        if (enough == -INFINITY) {
            return -INFINITY;
        }
    }
    return raise_threshold(kernels, maxima, n, k, enough, missed);
}

size_t row_gather(const struct row *row, float least, const uint64_t *skip, int32_t *id, float *found)
{
    const size_t whole = row->n / GROUP;
    size_t n = row->kernels->gather(row->logit, whole, row->lane_max, least, skip, 0, id, found);
    if (whole < row->groups) {
        n += row->kernels->gather(row->tail, 1, row->lane_max + whole * LANES, least, skip,
                                  (int32_t)(whole * GROUP), id + n, found + n);
    }
    return row_drop_padding(row, id, n);
}

/* Sum the groups of a piece in float64. */
static void weigh_piece_exactly(const struct row *row, const struct piece *piece, double origin,
                                double exp_scale, double *group_mass)
{
    const struct kernels *kernels = row->kernels;
    if (row->mask == NULL) {
        kernels->weigh_exactly(row_group(row, piece->first), piece->groups, origin, exp_scale, group_mass);
        return;
    }
    for (size_t i = 0; i < piece->groups; i++) {
        float allowed[GROUP];
        row_copy_group(row, piece->first + i, allowed);
        kernels->weigh_exactly(allowed, 1, origin, exp_scale, group_mass + i);
    }
}

size_t row_weigh_exactly(const struct row *row, double origin, double exp_scale, double *group_mass, float most,
                         const uint64_t *skip, int32_t *id, float *found)
{
    size_t n = 0;
    for (struct piece piece = {0}; next_piece(row, &piece);) {
        const float *logit = row_group(row, piece.first);
        if (group_mass != NULL) {
            weigh_piece_exactly(row, &piece, origin, exp_scale, group_mass + piece.first);
        }
        if (found != NULL) {
            n += row->kernels->gather_low(logit, piece.groups, most, skip, (int32_t)(piece.first * GROUP),
                                          id + n, found + n);
        }
    }
    return row_drop_padding(row, id, n);
}

/* Insert into the top k, which are in descending order, behind equal logits: ids come in ascending order. */
static void insert_top(struct row *row, int32_t k, int32_t id, float logit)
{
    if (row->top_count == k && logit <= row->top_logit[k - 1]) {
        return;
    }
    int32_t at = row->top_count < k ? row->top_count++ : k - 1;
    while (at > 0 && row->top_logit[at - 1] < logit) {
        row->top_id[at] = row->top_id[at - 1];
        row->top_logit[at] = row->top_logit[at - 1];
        at--;
    }
    row->top_id[at] = id;
    row->top_logit[at] = logit;
}

void row_need_top(struct row *row, int32_t k)
{
    if ((size_t)k > row->n) {
        k = (int32_t)row->n;
    }
    if (k <= row->top_count) {
        return;
    }
    const float least = row_threshold(row, (size_t)k);
    const size_t near = row_gather(row, least, NULL, row->near_id, row->near_logit);
    row->top_count = 0;
    for (size_t i = 0; i < near; i++) {
        insert_top(row, k, row->near_id[i], row->near_logit[i]);
    }
}
