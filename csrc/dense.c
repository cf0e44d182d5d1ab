#include "dense.h"

#include <math.h>

#include "exp64.h"
#include "mask.h"
#include "search.h"

void dense_init(struct dense *dense, struct arena *arena, size_t n_vocab)
{
    const size_t groups = group_count(n_vocab);
    *dense = (struct dense){0};
    dense->group_mass = arena_take(arena, groups, sizeof *dense->group_mass);
    dense->end = arena_take(arena, groups, sizeof *dense->end);
}

/* --- sums ----------------------------------------------------------------------------------------------- */

/* Bound on the relative error of a float64 sum of positive numbers. */
#define ROUNDING 1e-12

/* Bound the mass of the row by its float32 sums and by what the adjusted tokens change. */
static void estimate_total(struct dense *dense)
{
    const struct row *row = dense->adjusted->row;
    double after, before;
    dense->change = adjusted_mass_change(dense->adjusted, dense->origin, dense->exp_scale, &after, &before);
    dense->row_factor = exp2(((double)row->max - dense->origin) * dense->exp_scale / EXP64_STEPS);
    dense->total = row->weights.total * dense->row_factor + (after - before);
    dense->error = row->weights.error * dense->row_factor + ROUNDING * (dense->total + 2.0 * before + after);
    /* Where bias or penalties removed nearly all of the mass, the rest is less than the error of the sums. */
    dense->use_change = dense->error < dense->total / 256.0;
}

bool dense_start(struct dense *dense, struct adjusted_row *adjusted, double temperature)
{
    row_need_weights(adjusted->row, temperature);
    dense->adjusted = adjusted;
    dense->exp_scale = exp_scale_at(temperature); /* step 4: temperature */
    dense->nucleus = false;
    dense->cutoff_logit = -INFINITY;
    dense->cutoff_id = INT32_MAX;
    dense->origin = adjusted->bound;
    estimate_total(dense);
    if (dense->use_change) {
        dense->state = DENSE_TOTAL;
    } else {
        dense->origin = adjusted_largest(adjusted);
        dense->state = dense->origin > -INFINITY ? DENSE_UNWEIGHED : DENSE_EMPTY;
    }
    return dense->state != DENSE_EMPTY;
}

/* Read the logits of a group, after bias and penalties. */
static void read_group(const struct dense *dense, size_t group, double logit[GROUP])
{
    const struct adjusted_row *adjusted = dense->adjusted;
    const size_t first = group * GROUP;
    float raw[GROUP];
    row_copy_group(adjusted->row, group, raw);
    for (size_t j = 0; j < GROUP; j++) {
        logit[j] = (double)raw[j];
    }
    for (size_t i = first_from(adjusted->id, adjusted->count, (int32_t)first);
         i < adjusted->count && (size_t)adjusted->id[i] < first + GROUP; i++) {
        logit[(size_t)adjusted->id[i] - first] = adjusted->logit[i];
    }
}

/* Weigh the tokens of a group; the mass is 0 for those that a nucleus drops. */
static void weigh_group(const struct dense *dense, size_t group, double mass[GROUP])
{
    const double cutoff = dense->cutoff_logit;
    double logit[GROUP];
    read_group(dense, group, logit);
    for (size_t j = 0; dense->nucleus && j < GROUP; j++) {
        const int32_t id = (int32_t)(group * GROUP + j);
        const bool keep = logit[j] > cutoff || (logit[j] == cutoff && id <= dense->cutoff_id);
        logit[j] = keep ? logit[j] : -INFINITY;
    }
    dense->adjusted->row->kernels->masses(logit, GROUP, dense->origin, dense->exp_scale, mass);
}

/* Return the mass of a group in float64, with nothing dropped. */
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

/* Bring the adjusted tokens into the sums of the row's groups: add what they change; or, where that would be
 * mostly rounding, weigh their groups again. */
static void adjust_groups(struct dense *dense)
{
    const struct adjusted_row *adjusted = dense->adjusted;
    size_t weighed = SIZE_MAX;
    for (size_t i = 0; i < adjusted->count; i++) {
        const size_t group = (size_t)adjusted->id[i] / GROUP;
        if (dense->use_change) {
            dense->group_mass[group] += dense->change[i];
        } else if (group != weighed) {
            dense->group_mass[group] = exact_group(dense, group);
            weighed = group;
        }
    }
}

/* Return the mass before a group, of what is kept. */
static double kept_before(const struct dense *dense, size_t group)
{
    const double before = group > 0 ? dense->end[group - 1] : 0.0;
    if (!dense->nucleus) {
        return before;
    }
    return before - candidates_mass_before(dense->dropped, (int32_t)(group * GROUP));
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
    if (dense->state == DENSE_UNWEIGHED) {
        dense_sum_exactly(dense);
        return;
    }
    const struct row *row = dense->adjusted->row;
    for (size_t group = 0; group < row->groups; group++) {
        dense->group_mass[group] = row->weights.group_mass[group] * dense->row_factor;
    }
    adjust_groups(dense);
    add_groups(dense);
    dense->state = DENSE_ROUGH;
}

/* The row's groups are summed in float64: bring in the adjusted tokens. */
static void finish_exactly(struct dense *dense)
{
    adjust_groups(dense);
    add_groups(dense);
    dense->state = DENSE_EXACT;
    dense->error = 0.0;
}

void dense_sum_exactly(struct dense *dense)
{
    const struct row *row = dense->adjusted->row;
    row_weigh_exactly(row, dense->origin, dense->exp_scale, dense->group_mass, 0.0f, NULL, NULL, NULL);
    finish_exactly(dense);
}

/* --- the nucleus ---------------------------------------------------------------------------------------- */

/* A sample of the row takes RUN neighbours at a time, since reading one entry of a cache line costs as much
 * as reading all. */
enum { RUN = 16, MOST_SAMPLES = 1024 };

static size_t sample_size(size_t n)
{
    return n < MOST_SAMPLES ? n : MOST_SAMPLES;
}

/* Estimate from a sample of the row a logit that about `share` of the mass lies above. */
static float guess_level(const struct dense *dense, double share, struct candidates *sample)
{
    const struct row *row = dense->adjusted->row;
    const size_t stride = (row->n * RUN + MOST_SAMPLES - 1) / MOST_SAMPLES;
    sample->count = 0;
    for (size_t from = 0; from < row->n; from += stride > RUN ? stride : RUN) {
        for (size_t id = from; id < from + RUN && id < row->n; id++) {
            const bool allowed = row->mask == NULL || mask_allows(row->mask, (int32_t)id);
            const double logit = allowed ? (double)row->logit[id] : -INFINITY;
            sample->logit[sample->count++] = logit < dense->origin ? logit : dense->origin;
        }
    }
    candidates_weigh(sample, dense->origin, dense->exp_scale);
    return (float)sample->logit[candidates_cutoff(sample, 0.0, share * sample->total).entry];
}

/* Gather the tokens of at most `level`. Sum the groups in float64 in the same pass, unless rough sums will
 * do. */
static void gather_low(struct dense *dense, float level, bool roughly, struct candidates *low)
{
    double *group_mass = roughly ? NULL : dense->group_mass;
    const struct row *row = dense->adjusted->row;
    const size_t n = row_weigh_exactly(row, dense->origin, dense->exp_scale, group_mass, level,
                                       dense->adjusted->is_adjusted, low->found_id, low->found);
    if (!roughly) {
        finish_exactly(dense);
    }
    candidates_gather_low(low, dense->adjusted, level,
                          adjusted_drop_masked(dense->adjusted, n, low->found_id, low->found));
    candidates_weigh(low, dense->origin, dense->exp_scale);
}

/* Look for the cutoff among the gathered tokens (`all`: no others are left), of which the worst, with (1 -
 * top_p) * total between them, are dropped. Return false if the cutoff is not among them, or if the error of
 * the total leaves it open. */
static bool find_cutoff(struct dense *dense, double top_p, bool all, struct candidates *low)
{
    const double most = low->total - (1.0 - top_p) * (dense->total - dense->error);
    const double least = low->total - (1.0 - top_p) * (dense->total + dense->error);
    if (low->count == 0 || (least <= 0.0 && !all)) {
        return false;
    }
    const struct cutoff cutoff = candidates_cutoff(low, 0.0, least);
    if (cutoff.after < most && dense->state != DENSE_EXACT) {
        return false;
    }
    dense->cutoff_logit = low->logit[cutoff.entry];
    dense->cutoff_id = low->id[cutoff.entry];
    return true;
}

/* Find the cutoff and leave in `low` the tokens around it, the dropped ones among them. They are gathered up
 * to the level that a sample suggests, and somewhat more for the sample's own error. Where that is not
 * enough, all are gathered. */
static void find_nucleus(struct dense *dense, double top_p, bool roughly, struct candidates *low)
{
    const size_t n = dense->adjusted->row->n;
    const double error = 3.0 * sqrt(top_p * (1.0 - top_p) / (double)sample_size(n));
    const float level = top_p > error ? guess_level(dense, top_p - error, low) : INFINITY;
    gather_low(dense, level, roughly, low);
    if (!find_cutoff(dense, top_p, level == INFINITY, low)) {
        gather_low(dense, INFINITY, false, low);
        find_cutoff(dense, top_p, true, low);
    }
}

/* step 7: top-p, where the nucleus has most of the tokens */
void dense_keep_nucleus(struct dense *dense, double top_p, struct candidates *buffer)
{
    const double n = (double)dense->adjusted->row->n;
    /* Rough sums leave no draw open where the mass of a token is well above their error. */
    const bool roughly = dense->state == DENSE_TOTAL && dense->error * 8.0 < dense->total / n;
    find_nucleus(dense, top_p, roughly, buffer);
    candidates_remove_through(buffer, dense->cutoff_logit, dense->cutoff_id);
    dense->dropped = buffer;
    dense->nucleus = true;
    if (dense->state == DENSE_EXACT) {
        add_groups(dense);
    } else {
        dense_sum_roughly(dense);
    }
}

/* --- the draw ------------------------------------------------------------------------------------------- */

/* Walk through a group to the token at which the mass exceeds `target`. Return -1 if there is none, or if the
 * error of the sums leaves open which token it is. */
static int32_t walk(const struct dense *dense, size_t group, double target)
{
    const double margin = 2.0 * dense->error;
    double mass[GROUP], reached = kept_before(dense, group);
    weigh_group(dense, group, mass);
    for (size_t j = 0; j < GROUP; j++) {
        const double before = reached;
        reached += mass[j];
        if (reached > target) {
            const bool beyond_error = target - before > margin && reached - target > margin;
            return dense->state == DENSE_EXACT || beyond_error ? (int32_t)(group * GROUP + j) : -1;
        }
    }
    return -1;
}

/* Return the first group with which the mass exceeds `target`; the number of groups if there is none. */
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

/* Return the last token of the first `groups` groups that may be drawn. */
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
    return -1; /* never reached: the best token has mass */
}

/* step 8: draw from sums */
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
        if (dense->state == DENSE_EXACT) {
            /* Rounding: the target equals the total, or the group in order of its tokens adds up to less. */
            return last_of(dense, group < groups ? group + 1 : groups);
        }
        dense_sum_exactly(dense);
    }
}

void dense_write_out(struct dense *dense, struct candidates *kept)
{
    const bool nucleus = dense->nucleus;
    dense->nucleus = false; /* `dropped` may be what is overwritten here */
    candidates_gather(kept, dense->adjusted, -INFINITY);
    candidates_weigh(kept, adjusted_largest(dense->adjusted), dense->exp_scale);
    if (nucleus) {
        candidates_keep_through(kept, dense->cutoff_logit, dense->cutoff_id);
    }
}
