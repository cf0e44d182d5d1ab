/* Where a top-k or a nucleus ends, without sorting the tokens. */
#ifndef NUCLEUS_CUTOFF_H
#define NUCLEUS_CUTOFF_H

#include <stddef.h>
#include <stdint.h>

#include "arena.h"
#include "kernels.h"

/* The last entry that is kept. */
struct cutoff {
    size_t entry;
    double before, after; /* the weight of what is kept without this entry, and with it */
};

/* Work space for a number of entries. */
struct cutoff_scratch {
    double *logit, *weight;
    int32_t *index, *found;
};

void cutoff_init(struct cutoff_scratch *scratch, struct arena *arena, size_t room);

/* Take n >= 1 entries, the best first (larger logit, then lower index), and add their weights to `reached`:
 * return the entry at which the sum reaches `target`. Where rounding keeps even the sum of all below the
 * target, return one of the last entries. `weight` is NULL for a weight of 1 each. The arrays are padded to a
 * multiple of LANES64 with logits of -inf and weights of 0. */
struct cutoff cutoff_find(struct cutoff_scratch *scratch, const struct kernels *kernels, const double *logit,
                          const double *weight, size_t n, double reached, double target);

#endif
