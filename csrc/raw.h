/* One row of raw logits, as the model gave it: is it usable, and the log-probabilities that callers ask
 * for. */
#ifndef NUCLEUS_RAW_H
#define NUCLEUS_RAW_H

#include <stddef.h>
#include <stdint.h>

/* Why a row gave no token; engine.sampling.RowStatus mirrors the numbers. */
enum row_status { ROW_OK = 0, ROW_NAN_LOGIT = 1, ROW_INFINITE_LOGIT = 2, ROW_NO_FINITE_LOGIT = 3 };

struct raw_row {
    size_t n; /* n_vocab */
    const float *logit;
    enum row_status status;
    float max;
    float *block_max; /* [block_count(n)] */
    double total;     /* sum of exp(l - max) over the row; 0 until known */
    double log_total;
    int32_t top_count; /* how many of the top tokens are known, in descending order, ties to the lowest id */
    int32_t *top_id;   /* [capacity for the most alternatives] */
    double *top_logit;
};

/* Read a row: status, max, block maxima. Totals and top tokens are found when asked for. */
void raw_read(struct raw_row *raw, const float *logit);

/* Set the total where another pass has it already (it must be the same sum in the same order). */
void raw_set_total(struct raw_row *raw, double total);

/* Compute the total, unless known. */
void raw_need_total(struct raw_row *raw);

/* Find the `k` tokens of largest logit, unless known; -inf logits count, so min(k, n) tokens are found. */
void raw_need_top(struct raw_row *raw, int32_t k);

/* log softmax of one logit over the whole row; the total must be known. */
double raw_logprob(const struct raw_row *raw, double logit);

#endif
