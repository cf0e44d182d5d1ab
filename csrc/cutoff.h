/* Where a top-k or a nucleus ends, without sorting the tokens. */
#ifndef NUCLEUS_CUTOFF_H
#define NUCLEUS_CUTOFF_H

#include <stddef.h>
#include <stdint.h>

#include "arena.h"
#include "kernels.h"

struct cutoff {
    size_t entry;
    double before, after; /* what was reached before this entry, and with it */
};

/* Work space for up to `room` entries. */
struct cutoff_scratch {
    double *logit, *weight;
    int32_t *index, *found;
};

void cutoff_init(struct cutoff_scratch *scratch, struct arena *arena, size_t room);

/* Take n >= 1 entries from the best on (larger logit first, then lower index), add their weights (1 each if
 * NULL) to `reached`, and find the entry that brings it to `target`. All entries together do, but for rounding,
 * where one of the last is found. Behind the n, up to a multiple of LANES64, are logits of -inf and weights
 * of 0. */
struct cutoff cutoff_find(struct cutoff_scratch *scratch, const struct kernels *kernels, const double *logit,
                      const double *weight, size_t n, double reached, double target);

#endif
