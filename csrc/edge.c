#include "edge.h"

#include <math.h>
#include <stdlib.h>

/* An interval is cut so often before the entries in it are copied; and so few entries are sorted. */
enum { CUTS = 3, FEW = 16 };

static size_t padded(size_t n)
{
    return (n + LANES64 - 1) / LANES64 * LANES64;
}

bool edge_space_init(struct edge_space *space, size_t room)
{
    const size_t lanes = padded(room);
    *space = (struct edge_space){0};
    space->logit = malloc(lanes * sizeof *space->logit);
    space->weight = malloc(lanes * sizeof *space->weight);
    space->index = malloc(lanes * sizeof *space->index);
    space->found = malloc(lanes * sizeof *space->found);
    if (space->logit == NULL || space->weight == NULL || space->index == NULL || space->found == NULL) {
        edge_space_clear(space);
        return false;
    }
    return true;
}

void edge_space_clear(struct edge_space *space)
{
    free(space->logit);
    free(space->weight);
    free(space->index);
    free(space->found);
    *space = (struct edge_space){0};
}

/* What is left, in ascending order of index. */
struct search {
    size_t count;
    const int32_t *index; /* NULL while that is all entries */
    const double *logit, *weight;
    double reached, target;
};

static size_t index_of(const struct search *s, size_t i)
{
    return s->index != NULL ? (size_t)s->index[i] : i;
}

/* --- narrowing ------------------------------------------------------------------------------------------ */

/* Logits among which the edge is. */
struct interval {
    double from, below; /* from <= logit < below */
    double top, bottom; /* the ends where pivots make sense: finite */
    double above;       /* what the entries weigh that are not below it */
};

/* Cut the interval by pivots, and leave the part with the edge. */
static void cut(const struct search *s, const struct kernels *kernels, struct interval *in)
{
    double pivot[PIVOTS], above[PIVOTS];
    for (int k = 0; k < PIVOTS; k++) {
        const double part = (k + 1.0) / (PIVOTS + 1.0), x = (1.0 - part) * in->top + part * in->bottom;
        pivot[k] = x > in->bottom && x < in->top ? x : in->top; /* the top and the bottom are always parted */
    }
    kernels->weigh_above(s->logit, s->weight, padded(s->count), pivot, above);
    int k = 0;
    while (k < PIVOTS && s->reached + above[k] < s->target) {
        k++;
    }
    if (k > 0) {
        in->below = in->top = pivot[k - 1];
        in->above = above[k - 1];
    }
    if (k < PIVOTS) {
        in->from = in->bottom = pivot[k];
    }
}

/* Leave the entries in an interval. False, and nothing changed, where that is none or all. */
static bool keep_between(struct search *s, const struct kernels *kernels, struct edge_space *space,
                         const struct interval *in)
{
    const size_t left = kernels->between(s->logit, s->count, in->from, in->below, space->found);
    if (left == 0 || left == s->count) {
        return false;
    }
    for (size_t i = 0; i < left; i++) {
        const size_t at = (size_t)space->found[i];
        space->index[i] = (int32_t)index_of(s, at);
        space->logit[i] = s->logit[at];
        space->weight[i] = s->weight[at];
    }
    for (size_t i = left; i < padded(left); i++) {
        space->logit[i] = -INFINITY;
        space->weight[i] = 0.0;
    }
    *s = (struct search){left, space->index, space->logit, space->weight, s->reached + in->above, s->target};
    return true;
}

/* Leave the entries near the edge: one in 729, if they lie evenly. False when all are equal: then all are in the
 * interval, or none where rounding keeps them from reaching the target. */
static bool narrow(struct search *s, const struct kernels *kernels, struct edge_space *space)
{
    const size_t count = padded(s->count);
    const double max = kernels->largest(s->logit, count);
    if (max == -INFINITY) {
        return false;
    }
    const double min = max - kernels->depth(s->logit, count, max);
    struct interval in = {.from = -INFINITY, .below = INFINITY, .top = max, .bottom = min};
    for (int i = 0; i < CUTS; i++) {
        cut(s, kernels, &in);
    }
    return keep_between(s, kernels, space, &in);
}

/* --- the last few --------------------------------------------------------------------------------------- */

/* Sort by descending logit; stable, so that equal logits stay in order, and nothing moves where all are. */
static void sort(const double *logit, size_t n, int32_t *place)
{
    for (size_t i = 0; i < n; i++) {
        size_t to = i;
        for (; to > 0 && logit[place[to - 1]] < logit[i]; to--) {
            place[to] = place[to - 1];
        }
        place[to] = (int32_t)i;
    }
}

struct edge edge_find(struct edge_space *space, const struct kernels *kernels, const double *logit,
                      const double *weight, size_t n, double reached, double target)
{
    if (weight == NULL) {
        for (size_t i = 0; i < padded(n); i++) {
            space->weight[i] = i < n ? 1.0 : 0.0;
        }
        weight = space->weight;
    }
    struct search s = {n, NULL, logit, weight, reached, target};
    while (s.count > FEW && narrow(&s, kernels, space)) {
    }
    sort(s.logit, s.count, space->found);
    struct edge edge = {index_of(&s, (size_t)space->found[0]), s.reached, s.reached};
    for (size_t i = 0; i < s.count && edge.after < target; i++) {
        const size_t at = (size_t)space->found[i];
        if (s.weight[at] > 0.0) {
            edge = (struct edge){index_of(&s, at), edge.after, edge.after + s.weight[at]};
        }
    }
    return edge;
}
