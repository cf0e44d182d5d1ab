#include "edge.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Entries are thrown into buckets by their logit; the one with the edge is known from the buckets' sums, and
 * is cut up in turn, until few enough are left to be sorted. */
enum { BUCKETS = 256, FEW = 64, LANE_COUNT = 8 };

bool edge_space_init(struct edge_space *space, size_t room)
{
    *space = (struct edge_space){0};
    space->logit = malloc(room * sizeof *space->logit);
    space->weight = malloc(room * sizeof *space->weight);
    space->index = malloc(room * sizeof *space->index);
    space->place = malloc(room * sizeof *space->place);
    space->spare = malloc(room * sizeof *space->spare);
    space->bucket = malloc(room * sizeof *space->bucket);
    if (space->logit == NULL || space->weight == NULL || space->index == NULL || space->place == NULL ||
        space->spare == NULL || space->bucket == NULL) {
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
    free(space->place);
    free(space->spare);
    free(space->bucket);
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

/* --- buckets -------------------------------------------------------------------------------------------- */

/* Of equal width, from the largest logit to the smallest finite one; -inf is in the last. */
struct scale {
    double max, per_unit;
};

static struct scale scale_of(const double *logit, size_t count)
{
    double max[LANE_COUNT], min[LANE_COUNT]; /* lanes, so that no comparison waits for the one before */
    for (size_t k = 0; k < LANE_COUNT; k++) {
        max[k] = -INFINITY;
        min[k] = INFINITY;
    }
    for (size_t i = 0; i + LANE_COUNT <= count; i += LANE_COUNT) {
        for (size_t k = 0; k < LANE_COUNT; k++) {
            const double x = logit[i + k], finite = x > -INFINITY ? x : INFINITY;
            max[k] = x > max[k] ? x : max[k];
            min[k] = finite < min[k] ? finite : min[k];
        }
    }
    for (size_t i = count / LANE_COUNT * LANE_COUNT; i < count; i++) {
        max[0] = logit[i] > max[0] ? logit[i] : max[0];
        min[0] = logit[i] > -INFINITY && logit[i] < min[0] ? logit[i] : min[0];
    }
    for (size_t k = 1; k < LANE_COUNT; k++) {
        max[0] = max[k] > max[0] ? max[k] : max[0];
        min[0] = min[k] < min[0] ? min[k] : min[0];
    }
    const double per_unit = (BUCKETS - 1) / (max[0] - min[0]);
    return (struct scale){max[0], max[0] > min[0] ? (per_unit < DBL_MAX ? per_unit : DBL_MAX) : 1.0};
}

/* Throw all entries into buckets; writes the bucket of each, and what each bucket weighs. */
static void fill_buckets(const struct search *s, uint8_t *restrict bucket, double sum[BUCKETS])
{
    const struct scale scale = scale_of(s->logit, s->count);
    double part[4][BUCKETS] = {{0.0}}; /* in turn: neighbours are often of one bucket */
    const double *logit = s->logit, *weight = s->weight;
    for (size_t i = 0; i < s->count; i++) {
        const double distance = (scale.max - logit[i]) * scale.per_unit;
        bucket[i] = (uint8_t)(int)(distance < BUCKETS - 1 ? distance : BUCKETS - 1);
        part[i % 4][bucket[i]] += weight[i];
    }
    for (size_t k = 0; k < BUCKETS; k++) {
        sum[k] = (part[0][k] + part[1][k]) + (part[2][k] + part[3][k]);
    }
}

/* The bucket with the edge; `reached` goes up to it. */
static size_t edge_bucket(struct search *s, const double sum[BUCKETS])
{
    size_t edge = 0, last = BUCKETS - 1;
    while (last > 0 && sum[last] == 0.0) {
        last--;
    }
    while (edge < last && s->reached + sum[edge] < s->target) {
        s->reached += sum[edge++];
    }
    return edge;
}

/* Leave the entries of the bucket with the edge. False when that was all of them. */
static bool narrow(struct search *s, struct edge_space *space)
{
    double sum[BUCKETS];
    fill_buckets(s, space->bucket, sum);
    const size_t edge = edge_bucket(s, sum), count = s->count;
    const double *logit = s->logit, *weight = s->weight;
    size_t left = 0;
    for (size_t i = 0; i < count; i++) {
        space->index[left] = (int32_t)index_of(s, i);
        space->logit[left] = logit[i];
        space->weight[left] = weight[i];
        left += space->bucket[i] == edge;
    }
    *s = (struct search){left, space->index, space->logit, space->weight, s->reached, s->target};
    return left < count;
}

/* --- sorting -------------------------------------------------------------------------------------------- */

/* Merge two neighbouring runs of places, larger logit first; stable, so equal logits stay in order. */
static void merge(const double *logit, const int32_t *from, size_t n_left, size_t n, int32_t *to)
{
    size_t left = 0, right = n_left;
    for (size_t i = 0; i < n; i++) {
        const bool take_left = right == n || (left < n_left && logit[from[left]] >= logit[from[right]]);
        to[i] = take_left ? from[left++] : from[right++];
    }
}

/* The places 0 to n - 1, sorted by descending logit: bottom-up merge sort, linear on runs such as equal
 * logits. Returns the one of the two arrays that holds them. */
static const int32_t *sort_places(const double *logit, size_t n, int32_t *place, int32_t *spare)
{
    for (size_t i = 0; i < n; i++) {
        place[i] = (int32_t)i;
    }
    for (size_t width = 1; width < n; width *= 2) {
        for (size_t from = 0; from < n; from += 2 * width) {
            const size_t middle = from + width < n ? from + width : n;
            const size_t end = from + 2 * width < n ? from + 2 * width : n;
            if (middle == end || logit[place[middle - 1]] >= logit[place[middle]]) {
                memcpy(spare + from, place + from, (end - from) * sizeof *place);
            } else {
                merge(logit, place + from, middle - from, end - from, spare + from);
            }
        }
        int32_t *swap = place;
        place = spare;
        spare = swap;
    }
    return place;
}

struct edge edge_find(struct edge_space *space, const double *logit, const double *weight, size_t n,
                      double reached, double target)
{
    if (weight == NULL) {
        for (size_t i = 0; i < n; i++) {
            space->weight[i] = 1.0;
        }
        weight = space->weight;
    }
    struct search s = {n, NULL, logit, weight, reached, target};
    while (s.count > FEW && narrow(&s, space)) {
    }
    const int32_t *place = sort_places(s.logit, s.count, space->place, space->spare);
    struct edge edge = {index_of(&s, (size_t)place[0]), s.reached, s.reached};
    for (size_t i = 0; i < s.count && edge.after < target; i++) {
        const double weight_here = s.weight[place[i]];
        if (weight_here > 0.0) {
            edge = (struct edge){index_of(&s, (size_t)place[i]), edge.after, edge.after + weight_here};
        }
    }
    return edge;
}
