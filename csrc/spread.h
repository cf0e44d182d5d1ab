/* The tokens that may be drawn, where they are many: not written out, but kept as sums over parts of the row,
 * from which the few masses that a draw needs are computed again. */
#ifndef NUCLEUS_SPREAD_H
#define NUCLEUS_SPREAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "list.h"
#include "overlay.h"

/* The mass of the row at a temperature, in sums that get more exact as they are needed: first the total, within
 * an error; then sums over groups, within the same error; then exact ones. */
struct spread {
    struct overlay *overlay;
    double per_nat;
    double origin;        /* masses are relative to this logit, which none exceeds */
    const double *change; /* overlay_mass_change(); NULL when the row's sums say nothing about what is left */
    double row_factor;    /* what the row's weights are multiplied by to be relative to the origin */
    double edge_logit;    /* the last token kept: what is as good as it, or better, may be drawn */
    int32_t edge_id;
    double *group_mass; /* [groups]: sums, with nothing dropped */
    double *end;        /* [groups]: mass up to and with each group, with nothing dropped */
    const struct list *dropped; /* what a nucleus drops: these entries; NULL for nothing */
    double total;
    double error; /* bound on the error of the total and of every `end` */
    bool exact;   /* that is 0 */
};

bool spread_init(struct spread *spread, size_t n_vocab);
void spread_clear(struct spread *spread);

/* Spread the whole row out at a temperature: the total, and nothing dropped. False if no token is left. */
bool spread_start(struct spread *spread, struct overlay *overlay, double temperature);

/* Find the sums of all groups: within the error, or in float64. */
void spread_sum_roughly(struct spread *spread);
void spread_sum_exactly(struct spread *spread);

/* Keep the smallest set of the best tokens whose mass reaches `top_p` of the total. The list is then that of
 * what is dropped, and has to stay as it is. */
void spread_keep_nucleus(struct spread *spread, double top_p, struct list *list);

/* As list_draw(). */
int32_t spread_draw(struct spread *spread, double uniform);

#endif
