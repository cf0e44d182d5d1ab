#include "distribution.h"

#include <float.h>
#include <math.h>

bool distribution_init(struct distribution *d, const struct kernels *kernels, size_t n_vocab)
{
    *d = (struct distribution){.listed = true};
    if (!overlay_init(&d->overlay, n_vocab) || !list_init(&d->list, kernels, n_vocab) ||
        !spread_init(&d->spread, n_vocab)) {
        distribution_clear(d);
        return false;
    }
    return true;
}

void distribution_clear(struct distribution *d)
{
    overlay_clear(&d->overlay);
    list_clear(&d->list);
    spread_clear(&d->spread);
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
    const double max = overlay_largest(&d->overlay);
    struct list *list = &d->list;
    list_gather(list, &d->overlay, float_below(max));
    size_t i = 0;
    while (list->logit[i] != max) {
        i++;
    }
    list->id[0] = list->id[i];
    list->logit[0] = max;
    list->count = 1;
    list_weigh(list, max, 1.0);
    d->listed = true;
    return max > -INFINITY;
}

static void keep_through(struct list *list, struct edge edge)
{
    list_keep_through(list, list->logit[edge.entry], list->id[edge.entry]);
}

/* min_p and top_k leave so few tokens that the rest of the row is never weighed. */
static bool keep_few(struct distribution *d, struct row *row, const struct params *p)
{
    const double max = overlay_largest(&d->overlay);
    const bool top_k = p->top_k > 0 && (size_t)p->top_k < row->n;
    float least = -INFINITY;
    if (max == -INFINITY) {
        return false;
    }
    if (top_k) {
        least = overlay_reached_by(&d->overlay, (size_t)p->top_k);
    }
    if (p->min_p > 0.0) {
        const float floor_logit = logit_of_mass(p->min_p, max, p->temperature);
        least = floor_logit > least ? floor_logit : least;
    }
    list_gather(&d->list, &d->overlay, least);
    list_weigh(&d->list, max, per_nat_at(p->temperature));
    list_keep_heavier(&d->list, p->min_p > DBL_MIN ? p->min_p : DBL_MIN);
    if (top_k) {
        list_keep_best(&d->list, (size_t)p->top_k);
    }
    if (p->top_p < 1.0) {
        keep_through(&d->list, list_edge(&d->list, 0.0, p->top_p * d->list.total));
    }
    d->listed = true;
    return true;
}

/* Candidates in so few lanes are always worth a list. */
enum { FEW_LANES = 256 };

/* Write out the tokens among which the nucleus must be. Which ones these are is a guess, that tokens lighter
 * than some part of 1 - top_p are not needed; it is right when the rest has the mass. */
static bool list_candidates(struct distribution *d, const struct row *row, const struct params *p,
                            double needed)
{
    const struct spread *spread = &d->spread;
    const size_t lanes = row->groups * LANES;
    for (double part = 1.0 / 128.0; part * (double)row->n > 0.5; part /= 8.0) {
        const double mass = part * (1.0 - p->top_p) * spread->total;
        const float least = logit_of_mass(mass < 1.0 ? mass : 1.0, spread->origin, p->temperature);
        if (row->kernels->count(row->lane_max, lanes, least) > lanes / 4 + FEW_LANES) {
            return false;
        }
        list_gather(&d->list, &d->overlay, least);
        list_weigh(&d->list, spread->origin, spread->per_nat);
        if (d->list.total >= needed) {
            return true;
        }
    }
    return false;
}

/* A nucleus of few tokens. Float32 sums say where it ends, within their error; where that leaves the last
 * token open, float64 decides. False if the nucleus has too many tokens to be listed. */
static bool keep_small_nucleus(struct distribution *d, const struct row *row, const struct params *p)
{
    struct spread *spread = &d->spread;
    const double least = p->top_p * (spread->total - spread->error);
    const double most = p->top_p * (spread->total + spread->error);
    if (spread->change == NULL || !list_candidates(d, row, p, most)) {
        return false;
    }
    struct edge edge = list_edge(&d->list, 0.0, least);
    if (edge.after < most) { /* what reaches the least that the target can be does not reach the most */
        spread_sum_exactly(spread);
        edge = list_edge(&d->list, 0.0, p->top_p * spread->total);
    }
    keep_through(&d->list, edge);
    d->listed = true;
    return true;
}

static bool keep_nucleus(struct distribution *d, const struct row *row, const struct params *p)
{
    if (!spread_start(&d->spread, &d->overlay, p->temperature)) {
        return false;
    }
    if (!keep_small_nucleus(d, row, p)) {
        spread_keep_nucleus(&d->spread, p->top_p, &d->list);
        d->listed = false;
    }
    return true;
}

static bool keep_all(struct distribution *d, const struct params *p)
{
    if (!spread_start(&d->spread, &d->overlay, p->temperature)) {
        return false;
    }
    spread_sum_roughly(&d->spread);
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
    overlay_build(&d->overlay, row, slot);
    const bool left = p->temperature == 0.0       ? keep_argmax(d)
                      : keeps_few(p, row->n)      ? keep_few(d, row, p)
                      : p->top_p < 1.0            ? keep_nucleus(d, row, p)
                                                  : keep_all(d, p);
    return left ? ROW_OK : ROW_NO_FINITE_LOGIT;
}

int32_t distribution_draw(struct distribution *d, double uniform)
{
    return d->listed ? list_draw(&d->list, uniform) : spread_draw(&d->spread, uniform);
}

void distribution_write_out(struct distribution *d)
{
    if (!d->listed) {
        list_gather(&d->list, &d->overlay, -INFINITY);
        list_weigh(&d->list, overlay_largest(&d->overlay), d->spread.per_nat);
        list_keep_through(&d->list, d->spread.edge_logit, d->spread.edge_id);
        d->listed = true;
    }
}
