/* The tokens that may be drawn, where they are many: not written out, but kept as sums over parts of the row,
 * from which the few masses that a draw needs are computed again. */
#ifndef NUCLEUS_DENSE_H
#define NUCLEUS_DENSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "adjusted.h"
#include "arena.h"
#include "candidates.h"

/* The mass of the row at a temperature, in sums that get more exact as they are needed: first the total, within
 * an error; then sums over groups, within the same error; then exact ones. */
struct dense {
    struct adjusted_row *adjusted;
    double exp_scale;
    double origin;        /* masses are relative to this logit, which none exceeds */
    const double *change; /* adjusted_mass_change(); NULL when the row's sums say nothing about what is left */
    double row_factor;    /* what the row's weights are multiplied by to be relative to the origin */
    double cutoff_logit;    /* the last token kept: what is as good as it, or better, may be drawn */
    int32_t cutoff_id;
    double *group_mass; /* [groups]: sums, with nothing dropped */
    double *end;        /* [groups]: mass up to and with each group, with nothing dropped */
    const struct candidates *dropped; /* what a nucleus drops: these entries; NULL for nothing */
    double total;
    double error; /* bound on the error of the total and of every `end` */
    bool exact;   /* that is 0 */
};

void dense_init(struct dense *dense, struct arena *arena, size_t n_vocab);

/* Spread the whole row out at a temperature: the total, and nothing dropped. False if no token is left. */
bool dense_start(struct dense *dense, struct adjusted_row *adjusted, double temperature);

/* Find the sums of all groups: within the error, or in float64. */
void dense_sum_roughly(struct dense *dense);
void dense_sum_exactly(struct dense *dense);

/* Keep the smallest set of the best tokens whose mass reaches `top_p` of the total. The list is then that of
 * what is dropped, and has to stay as it is. */
void dense_keep_nucleus(struct dense *dense, double top_p, struct candidates *candidates);

/* As candidates_draw(). */
int32_t dense_draw(struct dense *dense, double uniform);

#endif
