/* One row of raw logits, as the model gave it: is it usable, how much mass it has at a temperature, and the
 * log-probabilities that callers ask for. Penalties and biases are not in here (adjusted.h). */
#ifndef NUCLEUS_ROW_H
#define NUCLEUS_ROW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arena.h"
#include "kernels.h"

/* Why a row gave no token; engine.sampling.RowStatus mirrors the numbers. */
enum row_status { ROW_OK = 0, ROW_NAN_LOGIT = 1, ROW_INFINITE_LOGIT = 2, ROW_NO_FINITE_LOGIT = 3 };

/* Float32 sums of exp((logit - max) / temperature) over a row. */
struct weights {
    double temperature; /* 0 = not known */
    double *group_mass; /* [groups] */
    double total;
    double error; /* bound on |total - true total|; infinity at temperatures that float32 cannot take */
};

struct row {
    const struct kernels *kernels;
    size_t n; /* n_vocab */
    size_t groups, pieces;
    const float *logit;
    float tail[GROUP]; /* what is behind the last whole group, then -inf */
    enum row_status status;
    float max;
    float *lane_max;  /* [groups * LANES]: maxima of the lanes of each group */
    float *piece_max;    /* [pieces]: maxima of runs of groups that are read together */
    double *piece_total; /* sums of exp(logit - piece_max) */
    double *factor;      /* exp((piece_max - max) / temperature) */
    float *folded_max;   /* work space of row_threshold() */
    struct weights weights;
    double total; /* sum of exp(logit - max); 0 = not known */
    double log_total;
    int32_t top_count; /* how many of the top tokens are known, in descending order, ties to the lowest id */
    int32_t *top_id;   /* [capacity for the most alternatives] */
    float *top_logit;
    int32_t *near_id; /* work space for row_gather() */
    float *near_logit;
};

void row_init(struct row *row, struct arena *arena, const struct kernels *kernels, size_t n_vocab, int32_t max_top);

/* Read a row. The sums that will be needed are cheapest here, while the logits are in the nearest cache: the
 * total at temperature 1, and the weights at `temperature` (0: none). */
void row_read(struct row *row, const float *logit, bool total, double temperature);

/* Compute what is not known yet, on a row whose status is ROW_OK. */
void row_need_total(struct row *row);
void row_need_weights(struct row *row, double temperature);

/* Find the `k` tokens of largest logit; -inf logits count, so min(k, n) tokens are found. */
void row_need_top(struct row *row, int32_t k);

/* log softmax of one logit over the whole row; the total must be known. */
double row_logprob(const struct row *row, float logit);

/* The GROUP entries of a group. */
const float *row_group(const struct row *row, size_t group);

/* A logit as low as need be for at least k entries to reach it, and hardly lower than that takes; -inf where
 * only that is low enough. */
float row_threshold(struct row *row, size_t k);

/* Entries of at least `least`, in ascending order of id, without those whose bit is set in `skip` (NULL: none).
 * Both arrays have room for n + GROUP + LANES: the tail is gathered with its padding, and a kernel writes LANES
 * at a time. */
size_t row_gather(const struct row *row, float least, const uint64_t *skip, int32_t *id, float *found);

/* Float64 sums of all groups, relative to `origin`, unless group_mass is NULL; and, unless `found` is NULL, the
 * entries of at most `most` in the same pass. */
size_t row_weigh_exactly(const struct row *row, double origin, double exp_scale, double *group_mass, float most,
                         const uint64_t *skip, int32_t *id, float *found);

#endif
