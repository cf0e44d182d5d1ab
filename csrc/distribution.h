/* One row of logits and one slot: which tokens may be drawn, and the draw. */
#ifndef NUCLEUS_DISTRIBUTION_H
#define NUCLEUS_DISTRIBUTION_H

#include <stddef.h>
#include <stdint.h>

#include "adjusted.h"
#include "arena.h"
#include "candidates.h"
#include "dense.h"
#include "mask.h"
#include "row.h"
#include "slot.h"

/* Where the tokens are that may be drawn. */
enum form {
    FORM_CANDIDATES, /* in `candidates`, each with its mass */
    FORM_DENSE       /* in `dense`, as sums over the row; its nucleus owns `candidates` */
};

/* Memory for one row, used again for every row, and the result of the last one. */
struct distribution {
    struct adjusted_row adjusted;
    enum form form;
    struct candidates candidates;
    struct dense dense;
};

void distribution_init(struct distribution *d, struct arena *arena, const struct kernels *kernels,
                       size_t n_vocab);

/* Return the temperature at which distribution_build() will need the weights of the row; 0 if it will not. */
double distribution_weighing(const struct slot *slot, struct mask mask, size_t n_vocab);

/* Apply a mask and all of a slot's parameters to a row whose status is ROW_OK. Where the weights of the row
 * are needed and there is a mask, the row is masked with it. Return ROW_OK, or ROW_NO_FINITE_LOGIT when every
 * token is banned. */
enum row_status distribution_build(struct distribution *d, struct row *row, const struct slot *slot,
                                   struct mask mask);

/* Return the token that a uniform number in [0, 1) selects. */
int32_t distribution_draw(struct distribution *d, double uniform);

/* Bring the distribution into FORM_CANDIDATES, however many tokens that are. */
void distribution_write_out(struct distribution *d);

#endif
