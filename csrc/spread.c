#include "spread.h"

#include <math.h>
#include <stdlib.h>

#include "exp64.h"

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

void spread_sum_roughly(struct spread *spread)
{
    if (spread->change == NULL) {
        spread_sum_exactly(spread);
        return;
    }
    const struct overlay *overlay = spread->overlay;
    const struct row *row = overlay->row;
    double reached = 0.0;
    size_t covered = 0;
    for (size_t group = 0; group < row->groups; group++) {
        reached += row->weights.group_mass[group] * spread->row_factor;
        for (; covered < overlay->count && (size_t)overlay->id[covered] / GROUP == group; covered++) {
            reached += spread->change[covered];
        }
        spread->end[group] = reached;
    }
    spread->total = reached;
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
    for (size_t i = overlay_from(overlay, (int32_t)first);
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
    double mass[GROUP], sum = 0.0;
    weigh_group(spread, group, mass);
    for (size_t j = 0; j < GROUP; j += BLOCK) {
        sum += block_sum(mass + j);
    }
    return sum;
}

/* Lay the covered tokens over the sums of the row's groups. Where little is left, so that a sum would be mostly
 * rounding, the group is weighed again. */
static void lay_over_groups(struct spread *spread)
{
    const struct overlay *overlay = spread->overlay;
    for (size_t i = 0; i < overlay->count;) {
        const size_t group = (size_t)overlay->id[i] / GROUP;
        double change = 0.0;
        for (; i < overlay->count && (size_t)overlay->id[i] / GROUP == group; i++) {
            change += spread->change != NULL ? spread->change[i] : 0.0;
        }
        double *mass = &spread->group_mass[group];
        const bool sound = spread->change != NULL && change > -0.875 * *mass;
        *mass = sound ? *mass + change : exact_group(spread, group);
    }
}

/* Add the groups up. */
static void add_groups(struct spread *spread)
{
    spread->total = 0.0;
    for (size_t group = 0; group < spread->overlay->row->groups; group++) {
        spread->total += spread->group_mass[group];
        spread->end[group] = spread->total;
    }
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
    row_weigh_exactly(row, spread->origin, spread->per_nat, spread->group_mass, 0.0f, NULL, NULL);
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

/* Sum exactly and gather the tokens from a level down, in one pass; look for the edge among these. */
static bool find_edge(struct spread *spread, double top_p, float level, struct list *list)
{
    const struct row *row = spread->overlay->row;
    const size_t n = row_weigh_exactly(row, spread->origin, spread->per_nat, spread->group_mass, level,
                                       list->found_id, list->found);
    finish_exactly(spread);
    list_take_low(list, spread->overlay, level, n);
    if (list->count == 0) {
        return false;
    }
    list_weigh(list, spread->origin, spread->per_nat);
    const bool all = list->count == row->n;
    const double above = all ? 0.0 : spread->total - list->total, target = top_p * spread->total;
    if (!all && above >= target) {
        return false;
    }
    const struct edge edge = list_edge(list, above, target);
    spread->edge_logit = list->logit[edge.entry];
    spread->edge_id = list->id[edge.entry];
    return true;
}

/* What a nucleus drops of one group: the list from *i on, which moves on to the next group. */
static double dropped_of_group(const struct spread *spread, const struct list *list, size_t group, size_t *i)
{
    const int32_t end = (int32_t)((group + 1) * GROUP);
    const double edge = spread->edge_logit;
    double dropped = 0.0;
    size_t at = *i;
    for (; at < list->count && list->id[at] < end; at++) { /* whether it is dropped is a coin toss: no branch */
        const double logit = list->logit[at];
        const int drop = (logit < edge) | ((logit == edge) & (list->id[at] > spread->edge_id));
        dropped += list->mass[at] * drop;
    }
    *i = at;
    return dropped;
}

void spread_keep_nucleus(struct spread *spread, double top_p, struct list *list)
{
    /* What is dropped, 1 - top_p of the mass, is looked for from below: as far up as a sample says, and
     * somewhat more for the sample's own error; where that was not enough, in the whole row. */
    const double error = 3.0 * sqrt(top_p * (1.0 - top_p) / (double)sample_size(spread->overlay->row->n));
    const float level = top_p > error ? guess_level(spread, top_p - error, list) : INFINITY;
    if (!find_edge(spread, top_p, level, list)) {
        find_edge(spread, top_p, INFINITY, list);
    }
    for (size_t i = 0; i < list->count;) {
        const size_t group = (size_t)list->id[i] / GROUP;
        spread->group_mass[group] -= dropped_of_group(spread, list, group, &i);
    }
    add_groups(spread);
}

/* --- the draw ------------------------------------------------------------------------------------------- */

/* Walk through a group to the token that reaches beyond `target`. -1 if none does, or if the error of the sums
 * leaves open which one. */
static int32_t walk(const struct spread *spread, size_t group, double target)
{
    const double margin = 2.0 * spread->error;
    double mass[GROUP], reached = group > 0 ? spread->end[group - 1] : 0.0;
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
        const size_t group = first_beyond(spread->end, groups, target);
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
