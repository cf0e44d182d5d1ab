/* The tokens that may be drawn, where they are few: written out with their masses. */
#ifndef NUCLEUS_CANDIDATES_H
#define NUCLEUS_CANDIDATES_H

#include <stddef.h>
#include <stdint.h>

#include "adjusted.h"
#include "arena.h"
#include "cutoff.h"

/* Entries are in ascending order of id. mass = exp((logit - max) / temperature), not normalised: the best
 * token has mass 1, and a token of mass 0 is never drawn. */
struct candidates {
    const struct kernels *kernels;
    size_t count;
    int32_t *id;
    double *logit; /* after bias and penalties, before the temperature */
    double *mass;
    double *block_end; /* mass up to and with each block of entries */
    double total;      /* mass of all entries */
    int32_t *found_id; /* work space from here on */
    int32_t *picked;
    float *found;
    struct cutoff_scratch scratch;
};

void candidates_init(struct candidates *c, struct arena *arena, const struct kernels *kernels, size_t n_vocab);

/* Take the tokens whose logit, after the overlay, is at least `least`. */
void candidates_gather(struct candidates *c, const struct adjusted_row *adjusted, float least);

/* Take those whose logit is at most `most`; the row's, `n` of them, are already in found_id and found. */
void candidates_gather_low(struct candidates *c, const struct adjusted_row *adjusted, float most, size_t n);

/* Compute the masses relative to `max`, and their sums. */
void candidates_weigh(struct candidates *c, double max, double exp_scale);

/* Keep the entries whose mass is at least `floor_mass`, which is above 0. */
void candidates_keep_heavier(struct candidates *c, double floor_mass);

/* Keep the k best: larger logit first, then lower id. */
void candidates_keep_best(struct candidates *c, size_t k);

/* Leave mass only to the entries that are worse than a token of that logit and id. */
void candidates_remove_through(struct candidates *c, double logit, int32_t id);

/* Mass of the entries whose id is lower. */
double candidates_mass_before(const struct candidates *c, int32_t id);

/* The entry at which the masses, the best first, bring `reached` to `target`: a nucleus ends there. */
struct cutoff candidates_cutoff(struct candidates *c, double reached, double target);

/* Keep what is as good as a token of that logit and id, or better. */
void candidates_keep_through(struct candidates *c, double logit, int32_t id);

/* The token that a uniform number in [0, 1) selects: inverse of the cumulated masses in ascending order of
 * id. */
int32_t candidates_draw(const struct candidates *c, double uniform);

#endif
