#include "distribution.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "blocks.h"
#include "edge.h"
#include "exp.h"

bool distribution_init(struct distribution *d, size_t n_vocab)
{
    const size_t blocks = block_count(n_vocab), padded = blocks * BLOCK;
    *d = (struct distribution){.n = n_vocab};
    d->id = malloc(padded * sizeof *d->id);
    d->logit = malloc(padded * sizeof *d->logit);
    d->mass = malloc(padded * sizeof *d->mass);
    d->block_max = malloc(blocks * sizeof *d->block_max);
    d->block_end = malloc(blocks * sizeof *d->block_end);
    d->order = malloc(2 * padded * sizeof *d->order);
    d->bucket = malloc(EDGE_BUCKETS * sizeof *d->bucket);
    if (d->id == NULL || d->logit == NULL || d->mass == NULL || d->block_max == NULL ||
        d->block_end == NULL || d->order == NULL || d->bucket == NULL) {
        distribution_clear(d);
        return false;
    }
    return true;
}

void distribution_clear(struct distribution *d)
{
    free(d->id);
    free(d->logit);
    free(d->mass);
    free(d->block_max);
    free(d->block_end);
    free(d->order);
    free(d->bucket);
    *d = (struct distribution){0};
}

int32_t distribution_id(const struct distribution *d, size_t i)
{
    return d->dense ? (int32_t)i : d->id[i];
}

/* --- passes over all entries ---------------------------------------------------------------------------- */

/* Fill what is left of the last block, so that loops need no tail. */
static void pad(struct distribution *d)
{
    for (size_t i = d->count; i < block_count(d->count) * BLOCK; i++) {
        d->logit[i] = -INFINITY;
        d->mass[i] = 0.0;
    }
}

static void load(struct distribution *d, const float *restrict row, const struct slot *slot)
{
    double *restrict logit = d->logit;
    d->count = d->n;
    d->dense = true;
    d->temperature = slot->params.temperature;
    for (size_t i = 0; i < d->n; i++) {
        logit[i] = (double)row[i];
    }
    slot_adjust(slot, d->logit);
    pad(d);
}

static inline double larger(double a, double b)
{
    return a > b ? a : b;
}

static void find_max(struct distribution *d)
{
    d->max = -INFINITY;
    for (size_t block = 0; block < block_count(d->count); block++) {
        const double *logit = d->logit + block * BLOCK;
        double max[LANES];
        for (int k = 0; k < LANES; k++) {
            max[k] = logit[k];
        }
        for (int j = LANES; j < BLOCK; j += LANES) {
            for (int k = 0; k < LANES; k++) {
                max[k] = logit[j + k] > max[k] ? logit[j + k] : max[k];
            }
        }
        d->block_max[block] = larger(larger(larger(max[0], max[1]), larger(max[2], max[3])),
                                     larger(larger(max[4], max[5]), larger(max[6], max[7])));
        d->max = larger(d->block_max[block], d->max);
    }
}

/* Add the masses up: block by block, and the blocks in order. */
static void add_masses(struct distribution *d)
{
    d->total = 0.0;
    for (size_t block = 0; block < block_count(d->count); block++) {
        d->total += block_sum(d->mass + block * BLOCK);
        d->block_end[block] = d->total;
    }
}

/* Masses of all entries. Dividing the distance from the maximum, and not the logits, keeps any temperature
 * safe: 0 / T is 0, and a quotient that overflows is -inf, whose mass is 0. */
static void find_masses(struct distribution *d)
{
    const size_t padded = block_count(d->count) * BLOCK;
    const double max = d->max, temperature = d->temperature;
    const double *restrict logit = d->logit;
    double *restrict mass = d->mass;
    if (temperature == 1.0) { /* the same numbers without the division */
        for (size_t i = 0; i < padded; i++) {
            mass[i] = exp_nonpositive(logit[i] - max);
        }
    } else {
        for (size_t i = 0; i < padded; i++) {
            mass[i] = exp_nonpositive((logit[i] - max) / temperature);
        }
    }
    add_masses(d);
}

/* --- filters -------------------------------------------------------------------------------------------- */

static inline void move_entry(struct distribution *d, size_t to, size_t from)
{
    const int32_t id = distribution_id(d, from);
    d->id[to] = id;
    d->logit[to] = d->logit[from];
    d->mass[to] = d->mass[from];
}

static void finish_moving(struct distribution *d, size_t kept)
{
    d->count = kept;
    d->dense = false;
    pad(d);
    add_masses(d);
}

/* Keep the entries whose mass is at least `floor_mass` (> 0). */
static void keep_heavier(struct distribution *d, double floor_mass)
{
    size_t kept = 0;
    for (size_t i = 0; i < d->count; i++) {
        if (d->mass[i] >= floor_mass) {
            move_entry(d, kept++, i);
        }
    }
    finish_moving(d, kept);
}

/* Keep entry `last` and all that come before it in order: larger logit first, then lower id. */
static void keep_through(struct distribution *d, size_t last)
{
    const double edge = d->logit[last];
    size_t kept = 0;
    for (size_t i = 0; i < d->count; i++) {
        /* Moving goes to entry i or before, so nothing is lost; a branch here would be a coin toss. */
        const bool keep = d->logit[i] > edge || (d->logit[i] == edge && i <= last);
        move_entry(d, kept, i);
        kept += keep;
    }
    finish_moving(d, kept);
}

/* Drop, before any exponential, most of what cannot be among the k best. If k blocks have their maximum
 * within some distance of the best, so have at least k tokens; whatever is farther away is out. */
static void gather_for_top_k(struct distribution *d, size_t k)
{
    const size_t blocks = block_count(d->count);
    const struct edge_scale scale = edge_scale(d->max, d->temperature);
    const size_t farthest = edge_bucket_of_kth(&scale, d->block_max, blocks, k, d->bucket);
    size_t kept = 0;
    for (size_t block = 0; block < blocks; block++) {
        if (edge_bucket(&scale, d->block_max[block]) > farthest) {
            continue;
        }
        const size_t end = (block + 1) * BLOCK < d->count ? (block + 1) * BLOCK : d->count;
        for (size_t i = block * BLOCK; i < end; i++) {
            if (edge_bucket(&scale, d->logit[i]) <= farthest) {
                d->id[kept] = (int32_t)i;
                d->logit[kept++] = d->logit[i];
            }
        }
    }
    d->count = kept;
    d->dense = false;
    pad(d);
}

static void keep_top_k(struct distribution *d, size_t k)
{
    if (k < d->count) {
        keep_through(d, edge_entry(d, NULL, (double)k));
    }
}

/* The smallest set of the best tokens whose mass reaches top_p of the total, the crossing token included.
 *
 * Tokens lighter than half of (1 - top_p) / count of the total weigh less than half of 1 - top_p together,
 * so the nucleus is complete without them: they are dropped before anything is put in order. The other
 * half of 1 - top_p is the margin for rounding; where it is too thin to be one, nothing is dropped. */
static void keep_top_p(struct distribution *d, double top_p)
{
    const double target = top_p * d->total;
    const double margin = (1.0 - top_p) / 2.0, count = (double)d->count;
    keep_heavier(d, margin > count * DBL_EPSILON ? larger(margin * d->total / count, DBL_MIN) : DBL_MIN);
    keep_through(d, edge_entry(d, d->mass, target));
}

/* --- the whole of it ------------------------------------------------------------------------------------ */

/* Temperature 0: one entry, the first of the largest logits. */
static void keep_argmax(struct distribution *d)
{
    size_t block = 0;
    while (d->block_max[block] != d->max) {
        block++;
    }
    size_t i = block * BLOCK;
    while (d->logit[i] != d->max) {
        i++;
    }
    d->id[0] = (int32_t)i;
    d->logit[0] = d->max;
    d->mass[0] = 1.0;
    finish_moving(d, 1);
}

enum row_status distribution_build(struct distribution *d, struct raw_row *raw, const struct slot *slot)
{
    const struct params *p = &slot->params;
    const bool top_k = p->top_k > 0 && (size_t)p->top_k < d->n;
    load(d, raw->logit, slot);
    find_max(d);
    if (d->max == -INFINITY) {
        return ROW_NO_FINITE_LOGIT;
    }
    if (p->temperature == 0.0) {
        keep_argmax(d);
        return ROW_OK;
    }
    if (top_k) {
        gather_for_top_k(d, (size_t)p->top_k);
    }
    find_masses(d);
    if (d->dense && p->temperature == 1.0 && !slot_adjusts(slot)) {
        raw_set_total(raw, d->total);
    }
    if (p->min_p > 0.0 || top_k) {
        keep_heavier(d, larger(p->min_p, DBL_MIN));
    }
    if (top_k) {
        keep_top_k(d, (size_t)p->top_k);
    }
    if (p->top_p < 1.0) {
        keep_top_p(d, p->top_p);
    }
    return ROW_OK;
}

/* The first block whose end lies beyond `target`; the number of blocks if none does. */
static size_t block_beyond(const struct distribution *d, double target)
{
    size_t low = 0, high = block_count(d->count);
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (d->block_end[middle] > target) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

int32_t distribution_draw(const struct distribution *d, double uniform)
{
    const double target = uniform * d->total;
    const size_t block = block_beyond(d, target);
    size_t last = d->count; /* where no entry is reached, the last possible one before this is drawn */
    if (block < block_count(d->count)) {
        last = (block + 1) * BLOCK < d->count ? (block + 1) * BLOCK : d->count;
        double reached = block > 0 ? d->block_end[block - 1] : 0.0;
        for (size_t i = block * BLOCK; i < last; i++) {
            reached += d->mass[i];
            if (reached > target) {
                return distribution_id(d, i);
            }
        }
    }
    /* Rounding: the product came up to the total, or the block's sum in order stayed below its sum by
     * lanes. */
    while (last > 1 && d->mass[last - 1] == 0.0) {
        last--;
    }
    return distribution_id(d, last - 1);
}
