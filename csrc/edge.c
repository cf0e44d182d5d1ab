#include "edge.h"

#include <float.h>
#include <stdint.h>
#include <string.h>

#include "distribution.h"

/* 32 buckets for each factor of e in probability: 64 nats, more than a nucleus ever spans. */
enum { BUCKETS_PER_NAT = 32 };

struct edge_scale edge_scale(double max, double temperature)
{
    const double per_unit = BUCKETS_PER_NAT / temperature;
    return (struct edge_scale){max, per_unit < DBL_MAX ? per_unit : DBL_MAX}; /* 0 times inf would be NaN */
}

size_t edge_bucket_of_kth(const struct edge_scale *scale, const double *logit, size_t n, size_t k,
                          double *bucket)
{
    memset(bucket, 0, EDGE_BUCKETS * sizeof *bucket);
    for (size_t i = 0; i < n; i++) {
        bucket[edge_bucket(scale, logit[i])] += 1.0;
    }
    size_t nearest = 0;
    double reached = bucket[0];
    while (reached < (double)k && nearest < EDGE_BUCKETS - 1) {
        reached += bucket[++nearest];
    }
    return nearest;
}

/* Merge two neighbouring runs of entries, larger logit first; stable, so equal logits stay in ascending
 * id. */
static void merge(const double *logit, const int32_t *from, size_t n_left, size_t n, int32_t *to)
{
    size_t left = 0, right = n_left;
    for (size_t i = 0; i < n; i++) {
        const int take_left = right == n || (left < n_left && logit[from[left]] >= logit[from[right]]);
        to[i] = take_left ? from[left++] : from[right++];
    }
}

/* Sort entries in ascending id by descending logit: bottom-up merge sort, n log n at worst, linear on runs
 * in order such as equal logits. `spare` has room for n. Returns the one of the two arrays that holds the
 * result. */
static int32_t *sort_entries(const double *logit, int32_t *entry, int32_t *spare, size_t n)
{
    for (size_t width = 1; width < n; width *= 2) {
        for (size_t from = 0; from < n; from += 2 * width) {
            const size_t middle = from + width < n ? from + width : n;
            const size_t end = from + 2 * width < n ? from + 2 * width : n;
            if (middle == end || logit[entry[middle - 1]] >= logit[entry[middle]]) {
                memcpy(spare + from, entry + from, (end - from) * sizeof *entry);
            } else {
                merge(logit, entry + from, middle - from, end - from, spare + from);
            }
        }
        int32_t *swap = entry;
        entry = spare;
        spare = swap;
    }
    return entry;
}

size_t edge_entry(struct distribution *d, const double *weight, double target)
{
    const struct edge_scale scale = edge_scale(d->max, d->temperature);
    memset(d->bucket, 0, EDGE_BUCKETS * sizeof *d->bucket);
    for (size_t i = 0; i < d->count; i++) {
        d->bucket[edge_bucket(&scale, d->logit[i])] += weight ? weight[i] : 1.0;
    }
    double reached = 0.0;
    size_t edge = 0, last = EDGE_BUCKETS - 1;
    while (last > 0 && d->bucket[last] == 0.0) {
        last--;
    }
    while (edge < last && reached + d->bucket[edge] < target) {
        reached += d->bucket[edge++];
    }
    size_t n = 0;
    for (size_t i = 0; i < d->count; i++) {
        if (edge_bucket(&scale, d->logit[i]) == edge) {
            d->order[n++] = (int32_t)i;
        }
    }
    const int32_t *sorted = sort_entries(d->logit, d->order, d->order + d->count, n);
    for (size_t i = 0; i < n; i++) {
        reached += weight ? weight[sorted[i]] : 1.0;
        if (reached >= target) {
            return (size_t)sorted[i];
        }
    }
    return (size_t)sorted[n - 1];
}
