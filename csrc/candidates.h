/* The tokens that may be drawn, where they are few: written out with their masses. */
#ifndef NUCLEUS_CANDIDATES_H
#define NUCLEUS_CANDIDATES_H

#include <stddef.h>
#include <stdint.h>

#include "adjusted.h"
#include "arena.h"
#include "cutoff.h"

/* Entries are in ascending order of id. mass = exp((logit - max) / temperature) is not normalised: the best
 * token has mass 1, and a token of mass 0 is never drawn. */
struct candidates {
    const struct kernels *kernels;
    size_t count;
    int32_t *id;
    double *logit; /* after bias and penalties, before the temperature */
    double *mass;
    double *block_end; /* mass up to and including each block of entries */
    double total;      /* mass of all entries */
    int32_t *found_id; /* what was gathered from the row: ids, and logits in `found` */
    float *found;
    int32_t *picked; /* work space from here on */
    struct cutoff_scratch scratch;
};

void candidates_init(struct candidates *c, struct arena *arena, const struct kernels *kernels, size_t n_vocab);

/* Gather the tokens whose logit, after bias and penalties, is at least `least`. */
void candidates_gather(struct candidates *c, const struct adjusted_row *adjusted, float least);

/* Write out the tokens that a mask allows; logits behind them are -inf to the end of a block. `adjusted` is
 * of the whole row. */
void candidates_list(struct candidates *c, const struct adjusted_row *adjusted, const uint32_t *mask);

/* Gather the tokens whose logit is at most `most`. The `n` of them that are not adjusted are already in
 * found_id and found. */
void candidates_gather_low(struct candidates *c, const struct adjusted_row *adjusted, float most, size_t n);

/* Compute the masses relative to `max`, and their sums. */
void candidates_weigh(struct candidates *c, double max, double exp_scale);

/* Keep the entries whose mass is at least `floor_mass`, which is above 0. */
void candidates_keep_heavier(struct candidates *c, double floor_mass);

/* Keep the k best entries: larger logit first, then lower id. */
void candidates_keep_best(struct candidates *c, size_t k);

/* Return the entry at which the masses, the best first, bring `reached` to `target`: a nucleus ends there. */
struct cutoff candidates_cutoff(struct candidates *c, double reached, double target);

/* Keep the entries that are as good as a token of that logit and id, or better. */
void candidates_keep_through(struct candidates *c, double logit, int32_t id);

/* The opposite: remove the mass of those entries, so that only worse ones have any. */
void candidates_remove_through(struct candidates *c, double logit, int32_t id);

/* Return the mass of the entries whose id is lower. */
double candidates_mass_before(const struct candidates *c, int32_t id);

/* Return the token that a uniform number in [0, 1) selects: the first, in ascending order of id, at which the
 * sum of the masses exceeds uniform * total. */
int32_t candidates_draw(const struct candidates *c, double uniform);

#endif
