/* The loops that read whole rows, in one version for each instruction set.
 *
 * Every version does the same IEEE operations in the same order, so all of them give the same bits: which
 * one runs is a matter of speed alone. kernels.inc has the code; the headers in simd/ have what differs. */
#ifndef NUCLEUS_KERNELS_H
#define NUCLEUS_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "blocks.h"

/* One temperature for weigh(): mass = exp((logit - max) / temperature) in float32. */
struct weighing {
    float exp_scale; /* 16 log2(e) / temperature */
    float lowest;  /* distances below this count as this: mass 2^-126, which no sum notices */
};

struct weighing weighing_at(double temperature);

/* 16 log2(e) / temperature for the float64 kernels, finite. */
double exp_scale_at(double temperature);

enum { PIVOTS = 8 };

struct kernels {
    const char *name;

    /* Read `groups` groups: the maximum of each lane of each group goes to lane_max[groups * LANES], the
     * maximum of all is returned, and *nan is set if there is one. */
    float (*scan)(const float *logit, size_t groups, float *lane_max, bool *nan);

    /* The sum of the masses of `groups` groups relative to `max`, in float32 within a group. Each group's
     * goes to group_mass, unless that is NULL. */
    double (*weigh)(const float *logit, size_t groups, float max, struct weighing at, double *group_mass);

    /* Two temperatures at once: the groups' sums at the one, and the sum of all at the other. */
    void (*weigh_twice)(const float *logit, size_t groups, float max, struct weighing at, double *group_mass,
                        struct weighing second, double *second_total);

    /* How many of n (a multiple of LANES) numbers are at least `least`. */
    size_t (*count)(const float *x, size_t n, float least);

    /* Maxima of each lane over every `fold_groups` groups of lane_max. Returns how many there are. */
    size_t (*fold)(const float *lane_max, size_t groups, size_t fold_groups, float *folded);

    /* Ids, from `first` on (a multiple of GROUP), and logits of the entries that are at least `least`, in
     * ascending order, without those whose bit is set in `skip` (NULL: none); only groups are read in which a
     * lane_max is. Returns how many. id and found have room for LANES more. */
    size_t (*gather)(const float *logit, size_t groups, const float *lane_max, float least,
                     const uint64_t *skip, int32_t first, int32_t *id, float *found);

    /* The same for the entries that are at most `most`; all groups are read. */
    size_t (*gather_low)(const float *logit, size_t groups, float most, const uint64_t *skip, int32_t first,
                         int32_t *id, float *found);

    /* mass = 2^((logit - max) * exp_scale / 16) in float64 for n entries (a multiple of LANES64); logit <= max,
     * and exp_scale = exp_scale_at(temperature). */
    void (*masses)(const double *logit, size_t n, double max, double exp_scale, double *mass);

    /* The largest of n logits (a multiple of LANES64). */
    double (*largest)(const double *logit, size_t n);

    /* How far below `top`, which none exceeds, the smallest finite one of n logits (a multiple of LANES64)
     * is. */
    double (*depth)(const double *logit, size_t n, double top);

    /* For each of PIVOTS numbers: what the entries that are at least that weigh, n of them (a multiple of
     * LANES64). */
    void (*weigh_above)(const double *logit, const double *weight, size_t n, const double pivot[PIVOTS],
                        double above[PIVOTS]);

    /* Indices of the n entries that are at least `from` and below `below`, in ascending order. Returns how
     * many. What lies behind them, up to a multiple of LANES64, may be read, and index be written there. */
    size_t (*between)(const double *logit, size_t n, double from, double below, int32_t *index);

    /* Sums of the same masses over the groups of a row, in the order that blocks.h lays down. */
    void (*weigh_exactly)(const float *logit, size_t groups, double max, double exp_scale, double *group_mass);
};

/* The sets that this machine can run, best first, then NULL. */
const struct kernels *const *kernels_usable(void);

/* The usable set of that name, or NULL. */
const struct kernels *kernels_named(const char *name);

#endif
