/* The tokens that may be drawn, where they are many: not written out, but as sums over groups of the row. A
 * draw computes the few masses that it needs again. */
#ifndef NUCLEUS_DENSE_H
#define NUCLEUS_DENSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "adjusted.h"
#include "arena.h"
#include "candidates.h"

/* What is known about the mass of the row. It grows as it is needed, and only downwards in this list:
 *
 *   dense_start()          -> DENSE_EMPTY, DENSE_UNWEIGHED or DENSE_TOTAL
 *   dense_sum_roughly()    DENSE_TOTAL -> DENSE_ROUGH, DENSE_UNWEIGHED -> DENSE_EXACT
 *   dense_sum_exactly()    any of them -> DENSE_EXACT
 *   dense_keep_nucleus()   DENSE_TOTAL, DENSE_UNWEIGHED -> DENSE_ROUGH or DENSE_EXACT
 *   dense_draw()           DENSE_ROUGH stays, or -> DENSE_EXACT where the error leaves the token open */
enum dense_state {
    DENSE_EMPTY,     /* no token is left */
    DENSE_UNWEIGHED, /* nothing: bias and penalties removed nearly all that float32 can weigh */
    DENSE_TOTAL,     /* `total`, within `error` */
    DENSE_ROUGH,     /* and the sums of the groups, within the same error */
    DENSE_EXACT      /* all of it in float64; `error` is 0 */
};

struct dense {
    enum dense_state state;
    struct adjusted_row *adjusted;
    double exp_scale;
    double origin;        /* masses are relative to this logit, which none exceeds */
    double row_factor;    /* times this, the row's weights are relative to the origin */
    bool use_change;      /* `change` corrects sums; if false, groups with adjusted tokens are weighed again */
    const double *change; /* adjusted_mass_change() */
    double *group_mass;   /* [groups]: sums, with nothing dropped */
    double *end;          /* [groups]: mass up to and including each group, with nothing dropped */
    double total;         /* mass of what is kept */
    double error;         /* bound on the error of the total and of every `end` */

    /* A nucleus keeps the tokens that are as good as the cutoff or better. It owns `dropped`, the others, from
     * dense_keep_nucleus() to the next dense_start() or dense_write_out(). */
    bool nucleus;        /* false: everything is kept, and the three below say nothing */
    double cutoff_logit; /* of the last token kept */
    int32_t cutoff_id;
    struct candidates *dropped;
};

void dense_init(struct dense *dense, struct arena *arena, size_t n_vocab);

/* Weigh a row at a temperature above 0 and keep all of it. Return false if no token is left. */
bool dense_start(struct dense *dense, struct adjusted_row *adjusted, double temperature);

/* Find the sums of all groups, in float32 where it can or in float64. */
void dense_sum_roughly(struct dense *dense);
void dense_sum_exactly(struct dense *dense);

/* Keep the smallest set of the best tokens whose mass reaches `top_p` of the total. The content of `buffer` is
 * lost, and the buffer belongs to the dense form from here on: it holds the dropped tokens. */
void dense_keep_nucleus(struct dense *dense, double top_p, struct candidates *buffer);

/* Return the token that a uniform number in [0, 1) selects, as candidates_draw() does. */
int32_t dense_draw(struct dense *dense, double uniform);

/* Write all tokens that may be drawn into `kept`. This ends the dense form and hands its buffer back, so `kept`
 * may be the buffer. */
void dense_write_out(struct dense *dense, struct candidates *kept);

#endif
