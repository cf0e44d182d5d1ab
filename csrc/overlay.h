/* What a slot makes of a row: the few tokens whose logits its bias and penalties change, laid over the row
 * that stays as it was. */
#ifndef NUCLEUS_OVERLAY_H
#define NUCLEUS_OVERLAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "row.h"
#include "slot.h"

struct overlay {
    struct row *row;
    size_t count;
    size_t padded;      /* the next multiple of BLOCK: there is -inf behind the logits */
    int32_t *id;        /* [count], ascending */
    double *logit;      /* [padded]: after bias and penalties, finite or -inf */
    double *raw;        /* [padded]: before */
    double covered_max; /* the largest after */
    double bound;       /* no logit exceeds this, neither the laid ones nor the row's */
    double *mass;    /* work space of overlay_mass_change() */
    uint64_t *cover; /* one bit for each token of the row: is it in `id`? */
};

bool overlay_init(struct overlay *overlay, size_t n_vocab);
void overlay_clear(struct overlay *overlay);

/* Lay a slot over a row whose status is ROW_OK. */
void overlay_build(struct overlay *overlay, struct row *row, const struct slot *slot);

/* A logit as low as need be for at least k tokens that are not covered to reach it; -inf where only that is
 * low enough. */
float overlay_reached_by(const struct overlay *overlay, size_t k);

/* The largest logit of all, covered or not. */
double overlay_largest(const struct overlay *overlay);

/* What laying each covered token over the row adds to the mass of the row, relative to `origin`, which is at
 * least the bound; and the masses of all covered tokens, laid and raw. Valid until the next call. */
const double *overlay_mass_change(struct overlay *overlay, double origin, double per_nat, double *laid_total,
                                  double *raw_total);

#endif
