/* A row after bias and penalties. They change the logits of a few tokens: those are kept beside the row,
 * which is neither copied nor written to. */
#ifndef NUCLEUS_ADJUSTED_H
#define NUCLEUS_ADJUSTED_H

#include <stddef.h>
#include <stdint.h>

#include "arena.h"
#include "row.h"
#include "slot.h"

struct adjusted_row {
    struct row *row;
    size_t count;          /* adjusted tokens */
    size_t padded;         /* the next multiple of BLOCK: the logits from `count` on are -inf */
    int32_t *id;           /* [count], ascending */
    double *logit;         /* [padded]: after bias and penalties, finite or -inf */
    double *raw;           /* [padded]: before */
    uint64_t *is_adjusted; /* one bit for each token of the row: is it in `id`? */
    double adjusted_max;   /* the largest of `logit` */
    double bound;          /* no logit exceeds this, adjusted or not */
    double *mass;          /* work space of adjusted_mass_change() */
    const uint32_t *mask;  /* NULL: every token is allowed. An adjusted token that is not has the logit -inf */
};

void adjusted_init(struct adjusted_row *adjusted, struct arena *arena, size_t n_vocab);

/* Apply a mask (NULL: none) and a slot's bias and penalties to a row whose status is ROW_OK. The row may be
 * masked as well, or not: then its maxima may be those of tokens that are not allowed. */
void adjusted_build(struct adjusted_row *adjusted, struct row *row, const struct slot *slot,
                    const uint32_t *mask);

/* Gather the tokens of at least `least` that are allowed and not adjusted, as row_gather() does. */
size_t adjusted_gather(const struct adjusted_row *adjusted, float least, int32_t *id, float *found);

/* Drop those of n gathered tokens that the mask does not allow. Return how many are left. */
size_t adjusted_drop_masked(const struct adjusted_row *adjusted, size_t n, int32_t *id, float *found);

/* Return a logit that at least k of the tokens reach that are not adjusted; -inf where no other does. */
float adjusted_threshold(const struct adjusted_row *adjusted, size_t k);

/* Return the largest logit of all tokens. */
double adjusted_largest(const struct adjusted_row *adjusted);

/* Return, for each adjusted token, its mass after less its mass before, relative to `origin`, which is at
 * least the bound. Set the total mass of the adjusted tokens after and before. The array is valid until the
 * next call. */
const double *adjusted_mass_change(struct adjusted_row *adjusted, double origin, double exp_scale,
                                   double *after_total, double *before_total);

#endif
