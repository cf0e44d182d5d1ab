/* Where a top-k or a nucleus ends, without sorting the tokens.
 *
 * Tokens are counted into buckets by their distance from the best one; the bucket in which the edge lies
 * is known from the buckets' totals, and only its tokens are sorted. The buckets are monotone in the
 * logit, so the result is that of a full sort. */
#ifndef NUCLEUS_EDGE_H
#define NUCLEUS_EDGE_H

#include <stddef.h>

struct distribution;

enum { EDGE_BUCKETS = 2048 };

struct edge_scale {
    double max;
    double per_unit; /* buckets per unit of logit */
};

struct edge_scale edge_scale(double max, double temperature);

/* Bucket of a logit: 0 for the best; what is beyond the last bucket (or -inf) is in the last one. */
static inline size_t edge_bucket(const struct edge_scale *scale, double logit)
{
    const double distance = (scale->max - logit) * scale->per_unit;
    return distance < EDGE_BUCKETS - 1 ? (size_t)distance : EDGE_BUCKETS - 1;
}

/* The nearest bucket with which there are k of these logits; the last one if there are fewer. */
size_t edge_bucket_of_kth(const struct edge_scale *scale, const double *logit, size_t n, size_t k,
                          double *bucket);

/* The entry at which the weights, added from the best token on (larger logit first, then lower id), first
 * reach `target`. Weights are d's masses, or 1 each when NULL. If rounding keeps the sum below the target:
 * the last. */
size_t edge_entry(struct distribution *d, const double *weight, double target);

#endif
