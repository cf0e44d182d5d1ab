/* From one row of logits to the tokens that may be drawn, with their masses. */
#ifndef NUCLEUS_DISTRIBUTION_H
#define NUCLEUS_DISTRIBUTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "raw.h"
#include "slot.h"

/* Memory for one row, used again for every row, and the result of the last one.
 *
 * Entry i is the token id[i], or token i itself while `dense` (no token was dropped yet); entries are
 * always in ascending order of id. mass = exp((logit - max) / temperature), not normalised: the best token
 * has mass 1. A token of mass 0 is never drawn. Arrays hold whole blocks: behind `count` come logits of
 * -inf and masses of 0. */
struct distribution {
    size_t n; /* n_vocab */
    size_t count;
    bool dense;
    int32_t *id;
    double *logit; /* after bias and penalties, before the temperature */
    double *mass;
    double *block_max;   /* of logit; valid for the dense row only */
    double *block_end;   /* mass up to and with each block */
    double max;
    double total; /* mass of all entries */
    double temperature;
    int32_t *order;   /* [2 n] for sorting the few tokens at an edge */
    double *bucket;   /* masses by distance from the maximum, see edge_entry() */
};

bool distribution_init(struct distribution *d, size_t n_vocab);
void distribution_clear(struct distribution *d);

/* Apply all of a slot's parameters to a usable row. ROW_OK, or ROW_NO_FINITE_LOGIT when everything is
 * banned. Where the row's raw total falls out of the same pass, it is handed to `raw`. */
enum row_status distribution_build(struct distribution *d, struct raw_row *raw, const struct slot *slot);

/* The token that a uniform number in [0, 1) selects: inverse of the cumulated masses in ascending order of
 * id. */
int32_t distribution_draw(const struct distribution *d, double uniform);

/* Id of entry i. */
int32_t distribution_id(const struct distribution *d, size_t i);

#endif
