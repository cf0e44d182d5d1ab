#include "spread.h"

#include <math.h>
#include <stdlib.h>

#include "exp64.h"
#include "search.h"

bool spread_init(struct spread *spread, size_t n_vocab)
{
    const size_t groups = group_count(n_vocab);
    *spread = (struct spread){0};
    spread->group_mass = malloc(groups * sizeof *spread->group_mass);
    spread->end = malloc(groups * sizeof *spread->end);
    if (spread->group_mass == NULL || spread->end == NULL) {
        spread_clear(spread);
        return false;
    }
    return true;
}

void spread_clear(struct spread *spread)
{
    free(spread->group_mass);
    free(spread->end);
    *spread = (struct spread){0};
}

/* --- sums ----------------------------------------------------------------------------------------------- */

/* What float64 sums of positive numbers are never off by, relative to the sum. */
#define ROUNDING 1e-12

/* Whether float32 sums are worth anything: where biases or penalties took away nearly all of the mass, what is
 * left is less than their error. */
static bool says_something(const struct spread *spread)
{
    return spread->error < spread->total / 256.0;
}

bool spread_start(struct spread *spread, struct overlay *overlay, double temperature)
{
    struct row *row = overlay->row;
    row_need_weights(row, temperature);
    spread->overlay = overlay;
    spread->per_nat = per_nat_at(temperature);
    spread->dropped = NULL;
    spread->edge_logit = -INFINITY;
    spread->edge_id = INT32_MAX;
    spread->exact = false;
    spread->origin = overlay->bound;
    double laid, raw;
    spread->change = overlay_mass_change(overlay, spread->origin, spread->per_nat, &laid, &raw);
    spread->row_factor = exp2(((double)row->max - spread->origin) * spread->per_nat / EXP64_STEPS);
    spread->total = row->weights.total * spread->row_factor + (laid - raw);
    spread->error = row->weights.error * spread->row_factor + ROUNDING * (spread->total + 2.0 * raw + laid);
    if (says_something(spread)) {
        return true;
    }
    spread->change = NULL;
    spread->origin = overlay_largest(overlay);
    return spread->origin > -INFINITY;
}

/* Logits of a group after the overlay. */
static void read_group(const struct spread *spread, size_t group, double logit[GROUP])
{
    const struct overlay *overlay = spread->overlay;
    const size_t first = group * GROUP;
    const float *raw = row_group(overlay->row, group);
    for (size_t j = 0; j < GROUP; j++) {
        logit[j] = (double)raw[j];
    }
    for (size_t i = first_from(overlay->id, overlay->count, (int32_t)first);
         i < overlay->count && (size_t)overlay->id[i] < first + GROUP; i++) {
        logit[(size_t)overlay->id[i] - first] = overlay->logit[i];
    }
}

/* Masses of a group; 0 for tokens that are not kept. */
static void weigh_group(const struct spread *spread, size_t group, double mass[GROUP])
{
    const double edge = spread->edge_logit;
    double logit[GROUP];
    read_group(spread, group, logit);
    for (size_t j = 0; edge > -INFINITY && j < GROUP; j++) {
        const bool keep =
            logit[j] > edge || (logit[j] == edge && (int32_t)(group * GROUP + j) <= spread->edge_id);
        logit[j] = keep ? logit[j] : -INFINITY;
    }
    spread->overlay->row->kernels->masses(logit, GROUP, spread->origin, spread->per_nat, mass);
}

static double exact_group(const struct spread *spread, size_t group)
{
    double logit[GROUP], mass[GROUP], sum = 0.0;
    read_group(spread, group, logit);
    spread->overlay->row->kernels->masses(logit, GROUP, spread->origin, spread->per_nat, mass);
    for (size_t j = 0; j < GROUP; j += BLOCK) {
        sum += block_sum(mass + j);
    }
    return sum;
}

/* Lay the covered tokens over the sums of the row's groups: add the change; or, where that would be mostly
 * rounding, weigh the groups again. */
static void lay_over_groups(struct spread *spread)
{
    const struct overlay *overlay = spread->overlay;
    size_t weighed = SIZE_MAX;
    for (size_t i = 0; i < overlay->count; i++) {
        const size_t group = (size_t)overlay->id[i] / GROUP;
        if (spread->change != NULL) {
            spread->group_mass[group] += spread->change[i];
        } else if (group != weighed) {
            spread->group_mass[group] = exact_group(spread, group);
            weighed = group;
        }
    }
}

/* Mass before a group, of what is kept. */
static double kept_before(const struct spread *spread, size_t group)
{
    const double before = group > 0 ? spread->end[group - 1] : 0.0;
    const struct list *dropped = spread->dropped;
    return dropped != NULL ? before - list_mass_before(dropped, (int32_t)(group * GROUP)) : before;
}

static void add_groups(struct spread *spread)
{
    const size_t groups = spread->overlay->row->groups;
    double sum = 0.0;
    for (size_t group = 0; group < groups; group++) {
        sum += spread->group_mass[group];
        spread->end[group] = sum;
    }
    spread->total = kept_before(spread, groups);
}

void spread_sum_roughly(struct spread *spread)
{
    if (spread->change == NULL) {
        spread_sum_exactly(spread);
        return;
    }
    const struct row *row = spread->overlay->row;
    for (size_t group = 0; group < row->groups; group++) {
        spread->group_mass[group] = row->weights.group_mass[group] * spread->row_factor;
    }
    lay_over_groups(spread);
    add_groups(spread);
}

static void finish_exactly(struct spread *spread)
{
    lay_over_groups(spread);
    add_groups(spread);
    spread->exact = true;
    spread->error = 0.0;
}

void spread_sum_exactly(struct spread *spread)
{
    const struct row *row = spread->overlay->row;
    row_weigh_exactly(row, spread->origin, spread->per_nat, spread->group_mass, 0.0f, NULL, NULL,
                      NULL);
    finish_exactly(spread);
}

/* --- the nucleus ---------------------------------------------------------------------------------------- */

/* The row is sampled in runs, since reading one entry of a cache line costs as much as reading all. */
enum { RUN = 16, MOST_SAMPLES = 1024 };

static size_t sample_size(size_t n)
{
    return n < MOST_SAMPLES ? n : MOST_SAMPLES;
}

/* A logit above which there is about `share` of the mass, by a sample of the row. */
static float guess_level(const struct spread *spread, double share, struct list *list)
{
    const struct row *row = spread->overlay->row;
    const size_t stride = (row->n * RUN + MOST_SAMPLES - 1) / MOST_SAMPLES;
    list->count = 0;
    for (size_t from = 0; from < row->n; from += stride > RUN ? stride : RUN) {
        for (size_t id = from; id < from + RUN && id < row->n; id++) {
            const double logit = (double)row->logit[id];
            list->logit[list->count++] = logit < spread->origin ? logit : spread->origin;
        }
    }
    list_weigh(list, spread->origin, spread->per_nat);
    return (float)list->logit[list_edge(list, 0.0, share * list->total).entry];
}

/* Gather the tokens from a level down, in one pass with the exact sums unless rough ones may do. */
static void gather_low(struct spread *spread, float level, bool roughly, struct list *list)
{
    double *group_mass = roughly ? NULL : spread->group_mass;
    const struct row *row = spread->overlay->row;
    const size_t n = row_weigh_exactly(row, spread->origin, spread->per_nat, group_mass, level,
                                       spread->overlay->cover, list->found_id, list->found);
    if (!roughly) {
        finish_exactly(spread);
    }
    list_take_low(list, spread->overlay, level, n);
    list_weigh(list, spread->origin, spread->per_nat);
}

/* Look for the edge among the gathered tokens: so many of them are kept, beside all the others, that the rest
 * weighs at most 1 - top_p of the total. False if the edge is not among them, or if the error of the total
 * leaves it open. */
static bool find_edge(struct spread *spread, double top_p, struct list *list)
{
    const double most = list->total - (1.0 - top_p) * (spread->total - spread->error);
    const double least = list->total - (1.0 - top_p) * (spread->total + spread->error);
    const bool all = list->count == spread->overlay->row->n;
    if (list->count == 0 || (least <= 0.0 && !all)) {
        return false;
    }
    const struct edge edge = list_edge(list, 0.0, least);
    if (edge.after < most && !spread->exact) {
        return false;
    }
    spread->edge_logit = list->logit[edge.entry];
    spread->edge_id = list->id[edge.entry];
    return true;
}

void spread_keep_nucleus(struct spread *spread, double top_p, struct list *list)
{
    /* What is dropped, 1 - top_p of the mass, is looked for from below: as far up as a sample says, and
     * somewhat more for the sample's own error; where that was not enough, in the whole row. */
    const size_t n = spread->overlay->row->n;
    const double error = 3.0 * sqrt(top_p * (1.0 - top_p) / (double)sample_size(n));
    const float level = top_p > error ? guess_level(spread, top_p - error, list) : INFINITY;
    /* Rough sums leave no draw open where the mass of a token is well above their error. */
    const bool roughly = spread->change != NULL && spread->error * 8.0 < spread->total / (double)n;
    gather_low(spread, level, roughly, list);
    if (!find_edge(spread, top_p, list)) {
        gather_low(spread, INFINITY, false, list);
        find_edge(spread, top_p, list);
    }
    list_weigh_beyond(list, spread->edge_logit, spread->edge_id);
    spread->dropped = list;
    if (roughly && !spread->exact) {
        spread_sum_roughly(spread);
    } else {
        add_groups(spread);
    }
}

/* --- the draw ------------------------------------------------------------------------------------------- */

/* Walk through a group to the token that reaches beyond `target`. -1 if none does, or if the error of the sums
 * leaves open which one. */
static int32_t walk(const struct spread *spread, size_t group, double target)
{
    const double margin = 2.0 * spread->error;
    double mass[GROUP], reached = kept_before(spread, group);
    weigh_group(spread, group, mass);
    for (size_t j = 0; j < GROUP; j++) {
        const double before = reached;
        reached += mass[j];
        if (reached > target) {
            const bool sure = spread->exact || (target - before > margin && reached - target > margin);
            return sure ? (int32_t)(group * GROUP + j) : -1;
        }
    }
    return -1;
}

/* The group in which `target` is reached; their number if none is. */
static size_t group_beyond(const struct spread *spread, double target)
{
    size_t low = 0, high = spread->overlay->row->groups;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (kept_before(spread, middle + 1) > target) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

/* The last token of the first `groups` groups that may be drawn. */
static int32_t last_of(const struct spread *spread, size_t groups)
{
    while (groups-- > 0) {
        double mass[GROUP];
        weigh_group(spread, groups, mass);
        for (size_t j = GROUP; j-- > 0;) {
            if (mass[j] > 0.0) {
                return (int32_t)(groups * GROUP + j);
            }
        }
    }
    return -1; /* not reached: the best token has mass */
}

int32_t spread_draw(struct spread *spread, double uniform)
{
    const size_t groups = spread->overlay->row->groups;
    for (;;) {
        const double target = uniform * spread->total;
        const size_t group = group_beyond(spread, target);
        const int32_t id = group < groups ? walk(spread, group, target) : -1;
        if (id >= 0) {
            return id;
        }
        if (spread->exact) { /* rounding: the target came up to the total, or a group's sum was not reached */
            return last_of(spread, group < groups ? group + 1 : groups);
        }
        spread_sum_exactly(spread);
    }
}
