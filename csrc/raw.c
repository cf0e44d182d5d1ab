#include "raw.h"

#include <math.h>
#include <string.h>

#include "blocks.h"
#include "exp.h"

static inline float larger(float a, float b)
{
    return a > b ? a : b;
}

/* Maximum of one whole block; sets bits in `nans` where it meets NaN. */
static float scan_block(const float *logit, uint32_t nans[LANES])
{
    float max[LANES];
    for (int k = 0; k < LANES; k++) {
        max[k] = -INFINITY;
    }
    for (int j = 0; j < BLOCK; j += LANES) {
        for (int k = 0; k < LANES; k++) {
            const float x = logit[j + k];
            max[k] = x > max[k] ? x : max[k];
            nans[k] |= (uint32_t)(x != x);
        }
    }
    return larger(larger(larger(max[0], max[1]), larger(max[2], max[3])),
                  larger(larger(max[4], max[5]), larger(max[6], max[7])));
}

/* The block that starts at `from`: in place, or where the row ends inside it a copy padded with -inf. */
static const float *whole_block(const struct raw_row *raw, size_t from, float padded[BLOCK])
{
    if (raw->n - from >= BLOCK) {
        return raw->logit + from;
    }
    for (size_t j = 0; j < BLOCK; j++) {
        padded[j] = from + j < raw->n ? raw->logit[from + j] : -INFINITY;
    }
    return padded;
}

void raw_read(struct raw_row *raw, const float *logit)
{
    uint32_t nans[LANES] = {0};
    float padded[BLOCK];
    raw->logit = logit;
    raw->total = 0.0;
    raw->top_count = 0;
    raw->max = -INFINITY;
    for (size_t block = 0; block < block_count(raw->n); block++) {
        raw->block_max[block] = scan_block(whole_block(raw, block * BLOCK, padded), nans);
        raw->max = larger(raw->block_max[block], raw->max);
    }
    uint32_t any_nan = 0;
    for (int k = 0; k < LANES; k++) {
        any_nan |= nans[k];
    }
    raw->status = any_nan                   ? ROW_NAN_LOGIT
                  : raw->max == INFINITY    ? ROW_INFINITE_LOGIT
                  : raw->max == -INFINITY   ? ROW_NO_FINITE_LOGIT
                                            : ROW_OK;
}

void raw_set_total(struct raw_row *raw, double total)
{
    raw->total = total;
    raw->log_total = log(total);
}

void raw_need_total(struct raw_row *raw)
{
    if (raw->total != 0.0) {
        return; /* a known total is at least 1: the maximum's own term */
    }
    const double max = (double)raw->max;
    float padded[BLOCK];
    double total = 0.0;
    for (size_t block = 0; block < block_count(raw->n); block++) {
        const float *logit = whole_block(raw, block * BLOCK, padded);
        double mass[BLOCK];
        for (int j = 0; j < BLOCK; j++) {
            mass[j] = exp_nonpositive((double)logit[j] - max);
        }
        total += block_sum(mass);
    }
    raw_set_total(raw, total);
}

/* Insert into the descending list of at most k, behind its equals: ids come in ascending order. */
static void insert_top(struct raw_row *raw, int32_t k, int32_t id, double logit)
{
    int32_t at = raw->top_count < k ? raw->top_count++ : k - 1;
    while (at > 0 && raw->top_logit[at - 1] < logit) {
        raw->top_id[at] = raw->top_id[at - 1];
        raw->top_logit[at] = raw->top_logit[at - 1];
        at--;
    }
    raw->top_id[at] = id;
    raw->top_logit[at] = logit;
}

void raw_need_top(struct raw_row *raw, int32_t k)
{
    if ((size_t)k > raw->n) {
        k = (int32_t)raw->n;
    }
    if (k <= raw->top_count) {
        return;
    }
    raw->top_count = 0;
    for (size_t block = 0; block < block_count(raw->n); block++) {
        if (raw->top_count == k && (double)raw->block_max[block] <= raw->top_logit[k - 1]) {
            continue; /* nothing here beats the k-th: most blocks end like this */
        }
        const size_t end = (block + 1) * BLOCK < raw->n ? (block + 1) * BLOCK : raw->n;
        for (size_t i = block * BLOCK; i < end; i++) {
            if (raw->top_count < k || (double)raw->logit[i] > raw->top_logit[k - 1]) {
                insert_top(raw, k, (int32_t)i, (double)raw->logit[i]);
            }
        }
    }
}

double raw_logprob(const struct raw_row *raw, double logit)
{
    return (logit - (double)raw->max) - raw->log_total;
}
