/* The loops over whole rows, once for each instruction set.
 *
 * Every version does the same IEEE operations in the same order, so all give the same bits, and only the
 * speed depends on which one runs. kernels.inc has the code; the headers in simd/ have what differs. */
#ifndef NUCLEUS_KERNELS_H
#define NUCLEUS_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "blocks.h"

/* One temperature for weigh(): mass = exp((logit - max) / temperature) in float32. */
struct weighing {
    float exp_scale; /* 16 log2(e) / temperature */
    float lowest;    /* distances below this count as this: a mass of 2^-126 changes no sum */
};

struct weighing weighing_at(double temperature);

/* Return 16 log2(e) / temperature for the float64 kernels; it is finite. */
double exp_scale_at(double temperature);

enum { PIVOTS = 8 };

/* The entries of up to some groups of a row that a mask allows. */
struct packed {
    float *room;           /* [groups * GROUP + LANES]: those of a group follow its first place */
    const float **entries; /* [groups]: where they are; in the row itself if all of the group are allowed */
    uint32_t *used;        /* [groups]: how many, padded with -inf to a multiple of LANES */
    float *lane_max;       /* [groups * LANES]: their maxima by lanes */
    float max;             /* of all */
};

struct kernels {
    const char *name;

    /* Write the maximum of each lane of each group to lane_max[groups * LANES]. Set *nan if there is a NaN.
     * Return the maximum of all. */
    float (*scan)(const float *logit, size_t groups, float *lane_max, bool *nan);

    /* Return the mass of `groups` groups relative to `max`, summed in float32 within a group. Write that of
     * each group to group_mass, unless it is NULL. */
    double (*weigh)(const float *logit, size_t groups, float max, struct weighing at, double *group_mass);

    /* Weigh at two temperatures in one pass: write the mass of each group at the first one, and the mass of
     * all at the second. */
    void (*weigh_twice)(const float *logit, size_t groups, float max, struct weighing at, double *group_mass,
                        struct weighing second, double *second_total);

    /* Return how many of n numbers (a multiple of LANES) are at least `least`. */
    size_t (*count)(const float *x, size_t n, float least);

    /* Write the maximum of each lane over every `fold_groups` groups of lane_max. Return how many there are.
     */
    size_t (*fold)(const float *lane_max, size_t groups, size_t fold_groups, float *folded);

    /* Write ids and logits of the entries that are at least `least`, in ascending order, without those whose
     * bit is set in `skip` (NULL: none). Ids count from `first`, a multiple of GROUP. Groups whose lane_max
     * are all lower are not read. Return how many there are; id and found have room for LANES more. */
    size_t (*gather)(const float *logit, size_t groups, const float *lane_max, float least,
                     const uint64_t *skip, int32_t first, int32_t *id, float *found);

    /* Do the same for the entries that are at most `most`; all groups are read. */
    size_t (*gather_low)(const float *logit, size_t groups, float most, const uint64_t *skip, int32_t first,
                         int32_t *id, float *found);

    /* Masks: bit j % 32 of word j / 32 is set if entry j is allowed. Return how many bits of a mask are set;
     * any number above `most` where it is more than that. */
    size_t (*count_ones)(const uint32_t *mask, size_t words, size_t most);

    /* Write the places of the bits that are set, in ascending order. Return how many there are. */
    size_t (*list_ones)(const uint32_t *mask, size_t words, int32_t *id);

    /* Pack the entries that a mask allows. */
    void (*pack)(const float *logit, size_t groups, const uint32_t *mask, struct packed *to);

    /* Do it in one pass with weigh(): return the mass of all entries, allowed or not. */
    double (*weigh_and_pack)(const float *logit, size_t groups, float max, struct weighing at,
                             const uint32_t *mask, struct packed *to);

    /* Do what weigh() does for packed groups, relative to their maximum. Prefetch groups at `next`, where the
     * next piece of the row is. */
    double (*weigh_packed)(const struct packed *packed, size_t groups, struct weighing at, double *group_mass,
                           const float *next);

    /* Write mass = 2^((logit - max) * exp_scale / 16) in float64 for n entries (a multiple of LANES64), where
     * logit <= max and exp_scale = exp_scale_at(temperature). */
    void (*masses)(const double *logit, size_t n, double max, double exp_scale, double *mass);

    /* Return the largest of n logits (a multiple of LANES64). */
    double (*largest)(const double *logit, size_t n);

    /* Return `top` less the smallest finite one of n logits (a multiple of LANES64), none of which exceeds
     * `top`. */
    double (*depth)(const double *logit, size_t n, double top);

    /* Write, for each pivot, the weight of those of n entries (a multiple of LANES64) whose logit is at least
     * the pivot. */
    void (*weigh_above)(const double *logit, const double *weight, size_t n, const double pivot[PIVOTS],
                        double above[PIVOTS]);

    /* Write the indices of those of n entries that are at least `from` and below `below`, in ascending order.
     * Return how many there are. Up to a multiple of LANES64, entries behind the n may be read and `index`
     * may be written. */
    size_t (*between)(const double *logit, size_t n, double from, double below, int32_t *index);

    /* Write the float64 sums of these masses over each group of a row, in the order of blocks.h. */
    void (*weigh_exactly)(const float *logit, size_t groups, double max, double exp_scale, double *group_mass);
};

/* Return the sets that this machine can run, best first, then NULL. */
const struct kernels *const *kernels_usable(void);

/* Return the usable set of that name, or NULL. */
const struct kernels *kernels_named(const char *name);

#endif
