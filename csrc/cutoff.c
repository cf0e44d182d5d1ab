#include "cutoff.h"

#include <math.h>
#include <stdbool.h>

enum {
    CUTS = 3, /* of an interval, before the entries in it are copied */
    FEW = 16  /* entries are sorted in the end */
};

static size_t padded(size_t n)
{
    return (n + LANES64 - 1) / LANES64 * LANES64;
}

void cutoff_init(struct cutoff_scratch *scratch, struct arena *arena, size_t room)
{
    const size_t lanes = padded(room);
    scratch->logit = arena_take(arena, lanes, sizeof *scratch->logit);
    scratch->weight = arena_take(arena, lanes, sizeof *scratch->weight);
    scratch->index = arena_take(arena, lanes, sizeof *scratch->index);
    scratch->found = arena_take(arena, lanes, sizeof *scratch->found);
}

/* The entries among which the cutoff is, in ascending order of index. */
struct search {
    size_t count;
    const int32_t *index; /* NULL: entry i has the index i */
    const double *logit, *weight;
    double reached, target;
};

static size_t index_of(const struct search *s, size_t i)
{
    return s->index != NULL ? (size_t)s->index[i] : i;
}

/* --- narrowing ------------------------------------------------------------------------------------------ */

/* The interval of logits that the cutoff is in. */
struct interval {
    double from, below; /* from <= logit < below */
    double top, bottom; /* the ends where pivots make sense: finite */
    double above;       /* weight of the entries from `below` on */
};

/* Cut the interval by pivots and keep the part that the cutoff is in. */
static void cut(const struct search *s, const struct kernels *kernels, struct interval *in)
{
    double pivot[PIVOTS], above[PIVOTS];
    for (int k = 0; k < PIVOTS; k++) {
        const double part = (k + 1.0) / (PIVOTS + 1.0);
        const double x = (1.0 - part) * in->top + part * in->bottom;
        pivot[k] = x > in->bottom && x < in->top ? x : in->top; /* separates the top from the bottom */
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

/* Keep the entries in an interval. Return false, and change nothing, where these are none or all. */
static bool keep_between(struct search *s, const struct kernels *kernels, struct cutoff_scratch *scratch,
                         const struct interval *in)
{
    const size_t left = kernels->between(s->logit, s->count, in->from, in->below, scratch->found);
    if (left == 0 || left == s->count) {
        return false;
    }
    for (size_t i = 0; i < left; i++) {
        const size_t at = (size_t)scratch->found[i];
        scratch->index[i] = (int32_t)index_of(s, at);
        scratch->logit[i] = s->logit[at];
        scratch->weight[i] = s->weight[at];
    }
    for (size_t i = left; i < padded(left); i++) {
        scratch->logit[i] = -INFINITY;
        scratch->weight[i] = 0.0;
    }
    const double reached = s->reached + in->above;
    *s = (struct search){left, scratch->index, scratch->logit, scratch->weight, reached, s->target};
    return true;
}

/* Keep the entries near the cutoff: one in (PIVOTS + 1)^CUTS = 729 if they are evenly distributed. Return
 * false when all are equal: then all are in the interval, or none where rounding keeps them below the
 * target. */
static bool narrow(struct search *s, const struct kernels *kernels, struct cutoff_scratch *scratch)
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
    return keep_between(s, kernels, scratch, &in);
}

/* --- the last few --------------------------------------------------------------------------------------- */

/* Sort by descending logit. The sort is stable: equal logits stay in order of index. */
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

struct cutoff cutoff_find(struct cutoff_scratch *scratch, const struct kernels *kernels, const double *logit,
                      const double *weight, size_t n, double reached, double target)
{
    if (weight == NULL) {
        for (size_t i = 0; i < padded(n); i++) {
            scratch->weight[i] = i < n ? 1.0 : 0.0;
        }
        weight = scratch->weight;
    }
    struct search s = {n, NULL, logit, weight, reached, target};
    while (s.count > FEW && narrow(&s, kernels, scratch)) {
    }
    sort(s.logit, s.count, scratch->found);
    struct cutoff cutoff = {index_of(&s, (size_t)scratch->found[0]), s.reached, s.reached};
    for (size_t i = 0; i < s.count && cutoff.after < target; i++) {
        const size_t at = (size_t)scratch->found[i];
        if (s.weight[at] > 0.0) {
            cutoff = (struct cutoff){index_of(&s, at), cutoff.after, cutoff.after + s.weight[at]};
        }
    }
    return cutoff;
}
