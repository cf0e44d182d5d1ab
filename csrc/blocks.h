/* How a row is cut up. These numbers define every sum: they fix the order of the additions, and so every bit
 * of the result, whatever the instruction set.
 *
 * A row is cut into groups of GROUP entries. A float32 sum over a group has LANES partial sums, a float64 one
 * LANES64; they are joined as a tree, and the groups are added in order, in float64. Candidates are cut into
 * blocks of BLOCK in the same way. */
#ifndef NUCLEUS_BLOCKS_H
#define NUCLEUS_BLOCKS_H

#include <stddef.h>

enum { BLOCK = 64, LANES64 = 8, GROUP = 256, LANES = 16 };

static inline size_t block_count(size_t entries)
{
    return (entries + BLOCK - 1) / BLOCK;
}

static inline size_t group_count(size_t entries)
{
    return (entries + GROUP - 1) / GROUP;
}

static inline double join_lanes(const double lane[LANES64])
{
    return ((lane[0] + lane[1]) + (lane[2] + lane[3])) + ((lane[4] + lane[5]) + (lane[6] + lane[7]));
}

static inline double block_sum(const double entry[BLOCK])
{
    double lane[LANES64];
    for (int k = 0; k < LANES64; k++) {
        lane[k] = entry[k];
    }
    for (int j = LANES64; j < BLOCK; j += LANES64) {
        for (int k = 0; k < LANES64; k++) {
            lane[k] += entry[j + k];
        }
    }
    return join_lanes(lane);
}

#endif
