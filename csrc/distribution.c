#include "distribution.h"

#include <float.h>
#include <math.h>

void distribution_init(struct distribution *d, struct arena *arena, const struct kernels *kernels, size_t n_vocab)
{
    adjusted_init(&d->adjusted, arena, n_vocab);
    candidates_init(&d->candidates, arena, kernels, n_vocab);
    dense_init(&d->dense, arena, n_vocab);
    d->listed = true;
}

/* The next float32 that is not above x. */
static float float_below(double x)
{
    const float rounded = (float)x;
    return (double)rounded > x ? nextafterf(rounded, -INFINITY) : rounded;
}

/* A logit that every token of this mass or more reaches. */
static float logit_of_mass(double mass, double max, double temperature)
{
    const double slack = 1e-9; /* a mass is rounded, and so is its logarithm */
    return float_below(max - (slack - log(mass)) * (1.0 + slack) * temperature);
}

/* --- the ways to a distribution: each is false if no token is left --------------------------------------- */

/* Temperature 0: the first of the largest logits. */
static bool keep_argmax(struct distribution *d)
{
    const double max = adjusted_largest(&d->adjusted);
    struct candidates *candidates = &d->candidates;
    candidates_gather(candidates, &d->adjusted, float_below(max));
    size_t i = 0;
    while (candidates->logit[i] != max) {
        i++;
    }
    candidates->id[0] = candidates->id[i];
    candidates->logit[0] = max;
    candidates->count = 1;
    candidates_weigh(candidates, max, 1.0);
    d->listed = true;
    return max > -INFINITY;
}

static void keep_through(struct candidates *candidates, struct cutoff cutoff)
{
    candidates_keep_through(candidates, candidates->logit[cutoff.entry], candidates->id[cutoff.entry]);
}

/* min_p and top_k leave so few tokens that the rest of the row is never weighed. */
static bool keep_few(struct distribution *d, struct row *row, const struct params *p)
{
    const double max = adjusted_largest(&d->adjusted);
    const bool top_k = p->top_k > 0 && (size_t)p->top_k < row->n;
    float least = -INFINITY;
    if (max == -INFINITY) {
        return false;
    }
    if (top_k) {
        least = adjusted_threshold(&d->adjusted, (size_t)p->top_k);
    }
    if (p->min_p > 0.0) {
        const float floor_logit = logit_of_mass(p->min_p, max, p->temperature);
        least = floor_logit > least ? floor_logit : least;
    }
    candidates_gather(&d->candidates, &d->adjusted, least);
    candidates_weigh(&d->candidates, max, exp_scale_at(p->temperature));
    candidates_keep_heavier(&d->candidates, p->min_p > DBL_MIN ? p->min_p : DBL_MIN);
    if (top_k) {
        candidates_keep_best(&d->candidates, (size_t)p->top_k);
    }
    if (p->top_p < 1.0) {
        keep_through(&d->candidates, candidates_cutoff(&d->candidates, 0.0, p->top_p * d->candidates.total));
    }
    d->listed = true;
    return true;
}

/* Candidates in so few lanes are always worth a list. */
enum { FEW_LANES = 256 };

/* Write out the tokens among which the nucleus must be. Which ones these are is a guess, that tokens lighter
 * than some part of 1 - top_p are not needed; it is right when the rest has the mass. */
static bool gather_candidates(struct distribution *d, const struct row *row, const struct params *p,
                            double needed)
{
    const struct dense *dense = &d->dense;
    const size_t lanes = row->groups * LANES;
    for (double part = 1.0 / 128.0; part * (double)row->n > 0.5; part /= 8.0) {
        const double mass = part * (1.0 - p->top_p) * dense->total;
        const float least = logit_of_mass(mass < 1.0 ? mass : 1.0, dense->origin, p->temperature);
        if (row->kernels->count(row->lane_max, lanes, least) > lanes / 4 + FEW_LANES) {
            return false;
        }
        candidates_gather(&d->candidates, &d->adjusted, least);
        candidates_weigh(&d->candidates, dense->origin, dense->exp_scale);
        if (d->candidates.total >= needed) {
            return true;
        }
    }
    return false;
}

/* A nucleus of few tokens. Float32 sums say where it ends, within their error; where that leaves the last
 * token open, float64 decides. False if the nucleus has too many tokens to be listed. */
static bool keep_small_nucleus(struct distribution *d, const struct row *row, const struct params *p)
{
    struct dense *dense = &d->dense;
    const double least = p->top_p * (dense->total - dense->error);
    const double most = p->top_p * (dense->total + dense->error);
    if (dense->change == NULL || !gather_candidates(d, row, p, most)) {
        return false;
    }
    struct cutoff cutoff = candidates_cutoff(&d->candidates, 0.0, least);
    if (cutoff.after < most) { /* what reaches the least that the target can be does not reach the most */
        dense_sum_exactly(dense);
        cutoff = candidates_cutoff(&d->candidates, 0.0, p->top_p * dense->total);
    }
    keep_through(&d->candidates, cutoff);
    d->listed = true;
    return true;
}

static bool keep_nucleus(struct distribution *d, const struct row *row, const struct params *p)
{
    if (!dense_start(&d->dense, &d->adjusted, p->temperature)) {
        return false;
    }
    if (!keep_small_nucleus(d, row, p)) {
        dense_keep_nucleus(&d->dense, p->top_p, &d->candidates);
        d->listed = false;
    }
    return true;
}

static bool keep_all(struct distribution *d, const struct params *p)
{
    if (!dense_start(&d->dense, &d->adjusted, p->temperature)) {
        return false;
    }
    dense_sum_roughly(&d->dense);
    d->listed = false;
    return true;
}

/* --- the whole of it ------------------------------------------------------------------------------------ */

static bool keeps_few(const struct params *p, size_t n)
{
    return p->min_p > 0.0 || (p->top_k > 0 && (size_t)p->top_k < n);
}

double distribution_weighing(const struct slot *slot, size_t n_vocab)
{
    return keeps_few(&slot->params, n_vocab) ? 0.0 : slot->params.temperature;
}

enum row_status distribution_build(struct distribution *d, struct row *row, const struct slot *slot)
{
    const struct params *p = &slot->params;
    adjusted_build(&d->adjusted, row, slot);
    const bool left = p->temperature == 0.0       ? keep_argmax(d)
                      : keeps_few(p, row->n)      ? keep_few(d, row, p)
                      : p->top_p < 1.0            ? keep_nucleus(d, row, p)
                                                  : keep_all(d, p);
    return left ? ROW_OK : ROW_NO_FINITE_LOGIT;
}

int32_t distribution_draw(struct distribution *d, double uniform)
{
    return d->listed ? candidates_draw(&d->candidates, uniform) : dense_draw(&d->dense, uniform);
}

void distribution_write_out(struct distribution *d)
{
    if (!d->listed) {
        candidates_gather(&d->candidates, &d->adjusted, -INFINITY);
        candidates_weigh(&d->candidates, adjusted_largest(&d->adjusted), d->dense.exp_scale);
        candidates_keep_through(&d->candidates, d->dense.cutoff_logit, d->dense.cutoff_id);
        d->listed = true;
    }
}
