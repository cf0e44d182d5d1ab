/* One row of raw logits, as the model gave it: whether it can be used, its mass at a temperature, and the
 * log-probabilities that callers ask for. It knows nothing of bias and penalties (adjusted.h). */
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
    double error; /* bound on |total - true total|; infinity at temperatures outside the range of float32 */
};

struct row {
    const struct kernels *kernels;
    size_t n; /* n_vocab */
    size_t groups, pieces;
    const float *logit;
    float tail[GROUP];          /* the entries after the last whole group, then -inf */
    const uint32_t *mask;       /* NULL, or which entries count: the rest is as if it were not in the row */
    uint32_t tail_mask[GROUP / 32]; /* its bits after the last whole group, then ones */
    struct packed packed;       /* work space: what the mask allows of a piece */
    enum row_status status;
    float max;
    float *lane_max;     /* [groups * LANES]: maxima of the lanes of each group */
    float *piece_max;    /* [pieces]: maxima of the groups that are read together */
    double *piece_total; /* [pieces]: sums of exp(logit - piece_max) */
    double *factor;      /* [pieces]: exp((piece_max - max) / temperature) */
    float *folded_max;   /* maxima of the lanes of each piece, for row_threshold() */
    size_t folded;       /* how many; 0 = not known yet */
    struct weights weights;
    double total; /* sum of exp(logit - max); 0 = not known */
    double log_total;
    int32_t top_count; /* how many of the top tokens are known, in descending order, ties to the lowest id */
    int32_t *top_id;   /* [max_top] */
    float *top_logit;
    int32_t *near_id; /* work space for row_gather() */
    float *near_logit;
};

void row_init(struct row *row, struct arena *arena, const struct kernels *kernels, size_t n_vocab,
              int32_t max_top);

/* Read a row. Sums are cheapest here, while the logits are in the nearest cache: ask for the total at
 * temperature 1 and for the weights at `temperature` (0: none) if they will be needed. */
void row_read(struct row *row, const float *logit, bool total, double temperature);

/* Find the status of a row, and nothing else. */
void row_skim(struct row *row, const float *logit);

/* Read a row, and weigh of it what a mask allows as `masked`, which then stands for the row in what follows:
 * its maxima, its weights and its status are those of the allowed entries. The total is that of the whole
 * row; where it is not asked for, only the status of the whole row is known. */
void row_read_masked(struct row *row, struct row *masked, const uint32_t *mask, const float *logit,
                     bool total, double temperature);

/* Compute what is not known yet, on a row whose status is ROW_OK. */
void row_need_total(struct row *row);
void row_need_weights(struct row *row, double temperature);

/* Find the min(k, n) tokens of largest logit; logits of -inf count. */
void row_need_top(struct row *row, int32_t k);

/* Return log softmax of one logit over the whole row; the total must be known. */
double row_logprob(const struct row *row, float logit);

/* Return the GROUP entries of a group, whatever the mask. */
const float *row_group(const struct row *row, size_t group);

/* Copy a group, with -inf for what the mask does not allow. */
void row_copy_group(const struct row *row, size_t group, float logit[GROUP]);

/* Return a logit that at least k entries reach, and not many more; -inf where no other is low enough. */
float row_threshold(struct row *row, size_t k);

/* Gather the entries of at least `least`, in ascending order of id, without those whose bit is set in `skip`
 * (NULL: none). Return how many there are. Both arrays have room for n + GROUP + LANES: the tail is gathered
 * with its padding, and a kernel writes LANES at a time. */
size_t row_gather(const struct row *row, float least, const uint64_t *skip, int32_t *id, float *found);

/* Make two passes in one, each of which can be left out. Unless group_mass is NULL, sum all groups in
 * float64, relative to `origin`. Unless `found` is NULL, gather the entries of at most `most` as row_gather()
 * does. */
size_t row_weigh_exactly(const struct row *row, double origin, double exp_scale, double *group_mass,
                         float most, const uint64_t *skip, int32_t *id, float *found);

#endif
