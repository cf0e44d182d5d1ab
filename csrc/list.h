/* The tokens that may be drawn, where they are few: written out with their masses. */
#ifndef NUCLEUS_LIST_H
#define NUCLEUS_LIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "edge.h"
#include "overlay.h"

/* Entries are in ascending order of id. mass = exp((logit - max) / temperature), not normalised: the best
 * token has mass 1, and a token of mass 0 is never drawn. */
struct list {
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
    struct edge_space space;
};

bool list_init(struct list *list, const struct kernels *kernels, size_t n_vocab);
void list_clear(struct list *list);

/* Take the tokens whose logit, after the overlay, is at least `least`. */
void list_gather(struct list *list, const struct overlay *overlay, float least);

/* Take those whose logit is at most `most`; the row's, `n` of them, are already in found_id and found. */
void list_take_low(struct list *list, const struct overlay *overlay, float most, size_t n);

/* Compute the masses relative to `max`, and their sums. */
void list_weigh(struct list *list, double max, double per_nat);

/* Keep the entries whose mass is at least `floor_mass`, which is above 0. */
void list_keep_heavier(struct list *list, double floor_mass);

/* Keep the k best: larger logit first, then lower id. */
void list_keep_best(struct list *list, size_t k);

/* Leave mass only to the entries that are worse than a token of that logit and id. */
void list_weigh_beyond(struct list *list, double logit, int32_t id);

/* Mass of the entries whose id is lower. */
double list_mass_before(const struct list *list, int32_t id);

/* The entry at which the masses, the best first, bring `reached` to `target`: a nucleus ends there. */
struct edge list_edge(struct list *list, double reached, double target);

/* Keep what is as good as a token of that logit and id, or better. */
void list_keep_through(struct list *list, double logit, int32_t id);

/* The token that a uniform number in [0, 1) selects: inverse of the cumulated masses in ascending order of
 * id. */
int32_t list_draw(const struct list *list, double uniform);

#endif
