#include "distribution.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>

void distribution_init(struct distribution *d, struct arena *arena, const struct kernels *kernels,
                       size_t n_vocab)
{
    adjusted_init(&d->adjusted, arena, n_vocab);
    candidates_init(&d->candidates, arena, kernels, n_vocab);
    dense_init(&d->dense, arena, n_vocab);
    d->form = FORM_CANDIDATES;
}

/* Return the largest float32 that is not above x. */
static float float_below(double x)
{
    const float rounded = (float)x;
    return (double)rounded > x ? nextafterf(rounded, -INFINITY) : rounded;
}

/* Return a logit that every token of at least this mass reaches. */
static float logit_of_mass(double mass, double max, double temperature)
{
    const double slack = 1e-9; /* a mass is rounded, and so is its logarithm */
    return float_below(max - (slack - log(mass)) * (1.0 + slack) * temperature);
}

/* --- five ways to a distribution: each returns false if no token is left -------------------------------- */

/* step 4: temperature 0 keeps the first of the largest logits, which is among the candidates. */
static void keep_first(struct candidates *candidates, double max)
{
    size_t i = 0;
    while (candidates->logit[i] != max) {
        i++;
    }
    candidates->id[0] = candidates->id[i];
    candidates->logit[0] = max;
    candidates->count = 1;
    candidates_weigh(candidates, max, 1.0);
}

static bool keep_argmax(struct distribution *d)
{
    const double max = adjusted_largest(&d->adjusted);
    candidates_gather(&d->candidates, &d->adjusted, float_below(max));
    d->form = FORM_CANDIDATES;
    if (max > -INFINITY) {
        keep_first(&d->candidates, max);
    }
    return max > -INFINITY;
}

static bool has_top_k(const struct params *p, size_t n)
{
    return p->top_k > 0 && (size_t)p->top_k < n;
}

/* Return a logit that every token reaches that can pass min_p and top_k. */
static float least_needed(const struct distribution *d, const struct params *p, double max)
{
    const size_t n = d->adjusted.row->n;
    const float kth = has_top_k(p, n) ? adjusted_threshold(&d->adjusted, (size_t)p->top_k) : -INFINITY;
    if (p->min_p == 0.0) {
        return kth;
    }
    const float floor_logit = logit_of_mass(p->min_p, max, p->temperature);
    return floor_logit > kth ? floor_logit : kth;
}

static void keep_through(struct candidates *candidates, struct cutoff cutoff)
{
    candidates_keep_through(candidates, candidates->logit[cutoff.entry], candidates->id[cutoff.entry]);
}

/* Filter the candidates, among which are all tokens that may be kept. The largest logit is `max`. */
static void filter(struct distribution *d, const struct params *p, double max)
{
    struct candidates *candidates = &d->candidates;
    /* step 4: temperature */
    candidates_weigh(candidates, max, exp_scale_at(p->temperature));
    /* step 5: min-p; tokens without mass go as well */
    candidates_keep_heavier(candidates, p->min_p > DBL_MIN ? p->min_p : DBL_MIN);
    /* step 6: top-k */
    if (has_top_k(p, d->adjusted.row->n)) {
        candidates_keep_best(candidates, (size_t)p->top_k);
    }
    /* step 7: top-p */
    if (p->top_p < 1.0) {
        keep_through(candidates, candidates_cutoff(candidates, 0.0, p->top_p * candidates->total));
    }
    d->form = FORM_CANDIDATES;
}

/* min_p and top_k leave few tokens: the rest of the row is never weighed. */
static bool keep_few(struct distribution *d, const struct params *p)
{
    const double max = adjusted_largest(&d->adjusted);
    if (max == -INFINITY) {
        return false;
    }
    candidates_gather(&d->candidates, &d->adjusted, least_needed(d, p, max));
    filter(d, p, max);
    return true;
}

/* A narrow mask leaves few tokens: nothing but their logits is read. */
static bool keep_listed(struct distribution *d, const struct params *p, const uint32_t *mask)
{
    struct candidates *candidates = &d->candidates;
    candidates_list(candidates, &d->adjusted, mask);
    const double max = candidates->kernels->largest(candidates->logit, block_count(candidates->count) * BLOCK);
    d->form = FORM_CANDIDATES;
    if (max == -INFINITY) {
        return false;
    }
    if (p->temperature == 0.0) {
        keep_first(candidates, max);
    } else {
        filter(d, p, max);
    }
    return true;
}

/* It is always worth writing tokens out that are in so few lanes. */
enum { FEW_LANES = 256 };

/* Write out tokens among which the nucleus must be. The guess is that tokens lighter than some part of
 * 1 - top_p are not needed; it is right if the others have the mass `needed`. Return false if that would be too
 * many tokens. */
static bool gather_candidates(struct distribution *d, const struct params *p, double needed)
{
    const struct dense *dense = &d->dense;
    const struct row *row = d->adjusted.row;
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

/* step 7: top-p, where the nucleus has few tokens. Float32 sums say where it ends, within their error; where
 * that leaves the last token open, float64 decides. Return false if the nucleus has too many tokens. */
static bool keep_small_nucleus(struct distribution *d, const struct params *p)
{
    struct dense *dense = &d->dense;
    const double least = p->top_p * (dense->total - dense->error);
    const double most = p->top_p * (dense->total + dense->error);
    if (dense->state == DENSE_UNWEIGHED || !gather_candidates(d, p, most)) {
        return false;
    }
    struct cutoff cutoff = candidates_cutoff(&d->candidates, 0.0, least);
    if (cutoff.after < most) { /* this token is the last for the least possible total, not for the most */
        dense_sum_exactly(dense);
        cutoff = candidates_cutoff(&d->candidates, 0.0, p->top_p * dense->total);
    }
    keep_through(&d->candidates, cutoff);
    d->form = FORM_CANDIDATES;
    return true;
}

static bool keep_nucleus(struct distribution *d, const struct params *p)
{
    if (!dense_start(&d->dense, &d->adjusted, p->temperature)) {
        return false;
    }
    if (!keep_small_nucleus(d, p)) {
        dense_keep_nucleus(&d->dense, p->top_p, &d->candidates);
        d->form = FORM_DENSE;
    }
    return true;
}

static bool keep_all(struct distribution *d, const struct params *p)
{
    if (!dense_start(&d->dense, &d->adjusted, p->temperature)) {
        return false;
    }
    dense_sum_roughly(&d->dense);
    d->form = FORM_DENSE;
    return true;
}

/* --- the whole of it ------------------------------------------------------------------------------------ */

static bool keeps_few(const struct params *p, size_t n)
{
    return p->min_p > 0.0 || has_top_k(p, n);
}

double distribution_weighing(const struct slot *slot, struct mask mask, size_t n_vocab)
{
    return mask.narrow || keeps_few(&slot->params, n_vocab) ? 0.0 : slot->params.temperature;
}

static bool keep_allowed(struct distribution *d, const struct params *p)
{
    if (p->temperature == 0.0) {
        return keep_argmax(d);
    }
    if (keeps_few(p, d->adjusted.row->n)) {
        return keep_few(d, p);
    }
    if (p->top_p < 1.0) {
        return keep_nucleus(d, p);
    }
    return keep_all(d, p);
}

enum row_status distribution_build(struct distribution *d, struct row *row, const struct slot *slot,
                                   struct mask mask)
{
    const struct params *p = &slot->params;
    /* steps 2 and 3: bias, mask and penalties */
    adjusted_build(&d->adjusted, row, slot, mask.narrow ? NULL : mask.words);
    const bool kept = mask.narrow ? keep_listed(d, p, mask.words) : keep_allowed(d, p);
    return kept ? ROW_OK : ROW_NO_FINITE_LOGIT;
}

int32_t distribution_draw(struct distribution *d, double uniform)
{
    if (d->form == FORM_CANDIDATES) {
        return candidates_draw(&d->candidates, uniform);
    }
    return dense_draw(&d->dense, uniform);
}

void distribution_write_out(struct distribution *d)
{
    if (d->form == FORM_DENSE) {
        dense_write_out(&d->dense, &d->candidates);
        d->form = FORM_CANDIDATES;
    }
}
