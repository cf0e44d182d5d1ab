/* Where a top-k or a nucleus ends, without sorting the tokens. */
#ifndef NUCLEUS_EDGE_H
#define NUCLEUS_EDGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels.h"

struct edge {
    size_t entry;
    double before, after; /* what was reached before this entry, and with it */
};

/* Work space for up to `room` entries. */
struct edge_space {
    double *logit, *weight;
    int32_t *index, *found;
};

bool edge_space_init(struct edge_space *space, size_t room);
void edge_space_clear(struct edge_space *space);

/* Take n >= 1 entries from the best on (larger logit first, then lower index), add their weights (1 each if
 * NULL) to `reached`, and find the entry that brings it to `target`. All entries together do, but for rounding,
 * where one of the last is found. Behind the n, up to a multiple of LANES64, are logits of -inf and weights
 * of 0. */
struct edge edge_find(struct edge_space *space, const struct kernels *kernels, const double *logit,
                      const double *weight, size_t n, double reached, double target);

#endif
