/* From one row of logits and one slot to the tokens that may be drawn. */
#ifndef NUCLEUS_DISTRIBUTION_H
#define NUCLEUS_DISTRIBUTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "adjusted.h"
#include "arena.h"
#include "candidates.h"
#include "row.h"
#include "slot.h"
#include "dense.h"

/* Memory for one row, used again for every row, and the result of the last one: a list of tokens, or the row
 * spread out. */
struct distribution {
    struct adjusted_row adjusted;
    struct candidates candidates;
    struct dense dense;
    bool listed;
};

void distribution_init(struct distribution *d, struct arena *arena, const struct kernels *kernels,
                       size_t n_vocab);

/* The temperature at which distribution_build() will want the row weighed; 0 if it will not. */
double distribution_weighing(const struct slot *slot, size_t n_vocab);

/* Apply all of a slot's parameters to a usable row. ROW_OK, or ROW_NO_FINITE_LOGIT when everything is
 * banned. */
enum row_status distribution_build(struct distribution *d, struct row *row, const struct slot *slot);

/* The token that a uniform number in [0, 1) selects. */
int32_t distribution_draw(struct distribution *d, double uniform);

/* Write all the tokens that may be drawn into the list, however many. */
void distribution_write_out(struct distribution *d);

#endif
