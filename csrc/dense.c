#include "dense.h"

#include <math.h>

#include "exp64.h"
#include "search.h"

void dense_init(struct dense *dense, struct arena *arena, size_t n_vocab)
{
    const size_t groups = group_count(n_vocab);
    *dense = (struct dense){0};
    dense->group_mass = arena_take(arena, groups, sizeof *dense->group_mass);
    dense->end = arena_take(arena, groups, sizeof *dense->end);
}

/* --- sums ----------------------------------------------------------------------------------------------- */

/* What float64 sums of positive numbers are never off by, relative to the sum. */
#define ROUNDING 1e-12

/* Whether float32 sums are worth anything: where biases or penalties took away nearly all of the mass, what is
 * left is less than their error. */
static bool says_something(const struct dense *dense)
{
    return dense->error < dense->total / 256.0;
}

bool dense_start(struct dense *dense, struct adjusted_row *adjusted, double temperature)
{
    struct row *row = adjusted->row;
    row_need_weights(row, temperature);
    dense->adjusted = adjusted;
    dense->exp_scale = exp_scale_at(temperature);
    dense->dropped = NULL;
    dense->cutoff_logit = -INFINITY;
    dense->cutoff_id = INT32_MAX;
    dense->exact = false;
    dense->origin = adjusted->bound;
    double after, before;
    dense->change = adjusted_mass_change(adjusted, dense->origin, dense->exp_scale, &after, &before);
    dense->row_factor = exp2(((double)row->max - dense->origin) * dense->exp_scale / EXP64_STEPS);
    dense->total = row->weights.total * dense->row_factor + (after - before);
    dense->error = row->weights.error * dense->row_factor + ROUNDING * (dense->total + 2.0 * before + after);
    if (says_something(dense)) {
        return true;
    }
    dense->change = NULL;
    dense->origin = adjusted_largest(adjusted);
    return dense->origin > -INFINITY;
}

/* Logits of a group after the overlay. */
static void read_group(const struct dense *dense, size_t group, double logit[GROUP])
{
    const struct adjusted_row *adjusted = dense->adjusted;
    const size_t first = group * GROUP;
    const float *raw = row_group(adjusted->row, group);
    for (size_t j = 0; j < GROUP; j++) {
        logit[j] = (double)raw[j];
    }
    for (size_t i = first_from(adjusted->id, adjusted->count, (int32_t)first);
         i < adjusted->count && (size_t)adjusted->id[i] < first + GROUP; i++) {
        logit[(size_t)adjusted->id[i] - first] = adjusted->logit[i];
    }
}

/* Masses of a group; 0 for tokens that are not kept. */
static void weigh_group(const struct dense *dense, size_t group, double mass[GROUP])
{
    const double cutoff = dense->cutoff_logit;
    double logit[GROUP];
    read_group(dense, group, logit);
    for (size_t j = 0; cutoff > -INFINITY && j < GROUP; j++) {
        const bool keep =
            logit[j] > cutoff || (logit[j] == cutoff && (int32_t)(group * GROUP + j) <= dense->cutoff_id);
        logit[j] = keep ? logit[j] : -INFINITY;
    }
    dense->adjusted->row->kernels->masses(logit, GROUP, dense->origin, dense->exp_scale, mass);
}

static double exact_group(const struct dense *dense, size_t group)
{
    double logit[GROUP], mass[GROUP], sum = 0.0;
    read_group(dense, group, logit);
    dense->adjusted->row->kernels->masses(logit, GROUP, dense->origin, dense->exp_scale, mass);
    for (size_t j = 0; j < GROUP; j += BLOCK) {
        sum += block_sum(mass + j);
    }
    return sum;
}

/* Lay the covered tokens over the sums of the row's groups: add the change; or, where that would be mostly
 * rounding, weigh the groups again. */
static void adjust_groups(struct dense *dense)
{
    const struct adjusted_row *adjusted = dense->adjusted;
    size_t weighed = SIZE_MAX;
    for (size_t i = 0; i < adjusted->count; i++) {
        const size_t group = (size_t)adjusted->id[i] / GROUP;
        if (dense->change != NULL) {
            dense->group_mass[group] += dense->change[i];
        } else if (group != weighed) {
            dense->group_mass[group] = exact_group(dense, group);
            weighed = group;
        }
    }
}

/* Mass before a group, of what is kept. */
static double kept_before(const struct dense *dense, size_t group)
{
    const double before = group > 0 ? dense->end[group - 1] : 0.0;
    const struct candidates *dropped = dense->dropped;
    return dropped != NULL ? before - candidates_mass_before(dropped, (int32_t)(group * GROUP)) : before;
}

static void add_groups(struct dense *dense)
{
    const size_t groups = dense->adjusted->row->groups;
    double sum = 0.0;
    for (size_t group = 0; group < groups; group++) {
        sum += dense->group_mass[group];
        dense->end[group] = sum;
    }
    dense->total = kept_before(dense, groups);
}

void dense_sum_roughly(struct dense *dense)
{
    if (dense->change == NULL) {
        dense_sum_exactly(dense);
        return;
    }
    const struct row *row = dense->adjusted->row;
    for (size_t group = 0; group < row->groups; group++) {
        dense->group_mass[group] = row->weights.group_mass[group] * dense->row_factor;
    }
    adjust_groups(dense);
    add_groups(dense);
}

static void finish_exactly(struct dense *dense)
{
    adjust_groups(dense);
    add_groups(dense);
    dense->exact = true;
    dense->error = 0.0;
}

void dense_sum_exactly(struct dense *dense)
{
    const struct row *row = dense->adjusted->row;
    row_weigh_exactly(row, dense->origin, dense->exp_scale, dense->group_mass, 0.0f, NULL, NULL,
                      NULL);
    finish_exactly(dense);
}

/* --- the nucleus ---------------------------------------------------------------------------------------- */

/* The row is sampled in runs, since reading one entry of a cache line costs as much as reading all. */
enum { RUN = 16, MOST_SAMPLES = 1024 };

static size_t sample_size(size_t n)
{
    return n < MOST_SAMPLES ? n : MOST_SAMPLES;
}

/* A logit above which there is about `share` of the mass, by a sample of the row. */
static float guess_level(const struct dense *dense, double share, struct candidates *candidates)
{
    const struct row *row = dense->adjusted->row;
    const size_t stride = (row->n * RUN + MOST_SAMPLES - 1) / MOST_SAMPLES;
    candidates->count = 0;
    for (size_t from = 0; from < row->n; from += stride > RUN ? stride : RUN) {
        for (size_t id = from; id < from + RUN && id < row->n; id++) {
            const double logit = (double)row->logit[id];
            candidates->logit[candidates->count++] = logit < dense->origin ? logit : dense->origin;
        }
    }
    candidates_weigh(candidates, dense->origin, dense->exp_scale);
    return (float)candidates->logit[candidates_cutoff(candidates, 0.0, share * candidates->total).entry];
}

/* Gather the tokens from a level down, in one pass with the exact sums unless rough ones may do. */
static void gather_low(struct dense *dense, float level, bool roughly, struct candidates *candidates)
{
    double *group_mass = roughly ? NULL : dense->group_mass;
    const struct row *row = dense->adjusted->row;
    const size_t n = row_weigh_exactly(row, dense->origin, dense->exp_scale, group_mass, level,
                                       dense->adjusted->is_adjusted, candidates->found_id, candidates->found);
    if (!roughly) {
        finish_exactly(dense);
    }
    candidates_gather_low(candidates, dense->adjusted, level, n);
    candidates_weigh(candidates, dense->origin, dense->exp_scale);
}

/* Look for the cutoff among the gathered tokens: so many of them are kept, beside all the others, that the rest
 * weighs at most 1 - top_p of the total. False if the cutoff is not among them, or if the error of the total
 * leaves it open. */
static bool find_cutoff(struct dense *dense, double top_p, struct candidates *candidates)
{
    const double most = candidates->total - (1.0 - top_p) * (dense->total - dense->error);
    const double least = candidates->total - (1.0 - top_p) * (dense->total + dense->error);
    const bool all = candidates->count == dense->adjusted->row->n;
    if (candidates->count == 0 || (least <= 0.0 && !all)) {
        return false;
    }
    const struct cutoff cutoff = candidates_cutoff(candidates, 0.0, least);
    if (cutoff.after < most && !dense->exact) {
        return false;
    }
    dense->cutoff_logit = candidates->logit[cutoff.entry];
    dense->cutoff_id = candidates->id[cutoff.entry];
    return true;
}

void dense_keep_nucleus(struct dense *dense, double top_p, struct candidates *candidates)
{
    /* What is dropped, 1 - top_p of the mass, is looked for from below: as far up as a sample says, and
     * somewhat more for the sample's own error; where that was not enough, in the whole row. */
    const size_t n = dense->adjusted->row->n;
    const double error = 3.0 * sqrt(top_p * (1.0 - top_p) / (double)sample_size(n));
    const float level = top_p > error ? guess_level(dense, top_p - error, candidates) : INFINITY;
    /* Rough sums leave no draw open where the mass of a token is well above their error. */
    const bool roughly = dense->change != NULL && dense->error * 8.0 < dense->total / (double)n;
    gather_low(dense, level, roughly, candidates);
    if (!find_cutoff(dense, top_p, candidates)) {
        gather_low(dense, INFINITY, false, candidates);
        find_cutoff(dense, top_p, candidates);
    }
    candidates_remove_through(candidates, dense->cutoff_logit, dense->cutoff_id);
    dense->dropped = candidates;
    if (roughly && !dense->exact) {
        dense_sum_roughly(dense);
    } else {
        add_groups(dense);
    }
}

/* --- the draw ------------------------------------------------------------------------------------------- */

/* Walk through a group to the token that reaches beyond `target`. -1 if none does, or if the error of the sums
 * leaves open which one. */
static int32_t walk(const struct dense *dense, size_t group, double target)
{
    const double margin = 2.0 * dense->error;
    double mass[GROUP], reached = kept_before(dense, group);
    weigh_group(dense, group, mass);
    for (size_t j = 0; j < GROUP; j++) {
        const double before = reached;
        reached += mass[j];
        if (reached > target) {
            const bool sure = dense->exact || (target - before > margin && reached - target > margin);
            return sure ? (int32_t)(group * GROUP + j) : -1;
        }
    }
    return -1;
}

/* The group in which `target` is reached; their number if none is. */
static size_t group_beyond(const struct dense *dense, double target)
{
    size_t low = 0, high = dense->adjusted->row->groups;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (kept_before(dense, middle + 1) > target) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

/* The last token of the first `groups` groups that may be drawn. */
static int32_t last_of(const struct dense *dense, size_t groups)
{
    while (groups-- > 0) {
        double mass[GROUP];
        weigh_group(dense, groups, mass);
        for (size_t j = GROUP; j-- > 0;) {
            if (mass[j] > 0.0) {
                return (int32_t)(groups * GROUP + j);
            }
        }
    }
    return -1; /* not reached: the best token has mass */
}

int32_t dense_draw(struct dense *dense, double uniform)
{
    const size_t groups = dense->adjusted->row->groups;
    for (;;) {
        const double target = uniform * dense->total;
        const size_t group = group_beyond(dense, target);
        const int32_t id = group < groups ? walk(dense, group, target) : -1;
        if (id >= 0) {
            return id;
        }
        if (dense->exact) { /* rounding: the target came up to the total, or a group's sum was not reached */
            return last_of(dense, group < groups ? group + 1 : groups);
        }
        dense_sum_exactly(dense);
    }
}
