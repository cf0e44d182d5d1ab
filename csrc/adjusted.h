/* What a slot makes of a row: the few tokens whose logits its bias and penalties change, laid over the row
 * that stays as it was. */
#ifndef NUCLEUS_ADJUSTED_H
#define NUCLEUS_ADJUSTED_H

#include <stddef.h>
#include <stdint.h>

#include "arena.h"
#include "row.h"
#include "slot.h"

struct adjusted_row {
    struct row *row;
    size_t count;
    size_t padded;      /* the next multiple of BLOCK: there is -inf behind the logits */
    int32_t *id;        /* [count], ascending */
    double *logit;      /* [padded]: after bias and penalties, finite or -inf */
    double *raw;        /* [padded]: before */
    double adjusted_max; /* the largest after */
    double bound;       /* no logit exceeds this, neither the laid ones nor the row's */
    double *mass;    /* work space of adjusted_mass_change() */
    uint64_t *is_adjusted; /* one bit for each token of the row: is it in `id`? */
};

void adjusted_init(struct adjusted_row *adjusted, struct arena *arena, size_t n_vocab);

/* Lay a slot over a row whose status is ROW_OK. */
void adjusted_build(struct adjusted_row *adjusted, struct row *row, const struct slot *slot);

/* A logit as low as need be for at least k tokens that are not covered to reach it; -inf where only that is
 * low enough. */
float adjusted_threshold(const struct adjusted_row *adjusted, size_t k);

/* The largest logit of all, covered or not. */
double adjusted_largest(const struct adjusted_row *adjusted);

/* What laying each covered token over the row adds to the mass of the row, relative to `origin`, which is at
 * least the bound; and the masses of all covered tokens, laid and raw. Valid until the next call. */
const double *adjusted_mass_change(struct adjusted_row *adjusted, double origin, double exp_scale, double *adjusted_total,
                                  double *raw_total);

#endif
