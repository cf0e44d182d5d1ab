/* How a row is cut up. Both numbers are part of the definition of every sum: a sum over a row adds LANES
 * partial sums in each block of BLOCK entries, joins them as a tree, and then adds the blocks in order. So
 * the order of the additions, and with it every bit of the result, is the same for any instruction set. */
#ifndef NUCLEUS_BLOCKS_H
#define NUCLEUS_BLOCKS_H

#include <stddef.h>

enum { BLOCK = 64, LANES = 8 };

static inline size_t block_count(size_t entries)
{
    return (entries + BLOCK - 1) / BLOCK;
}

static inline double block_sum(const double entry[BLOCK])
{
    double lane[LANES];
    for (int k = 0; k < LANES; k++) {
        lane[k] = entry[k];
    }
    for (int j = LANES; j < BLOCK; j += LANES) {
        for (int k = 0; k < LANES; k++) {
            lane[k] += entry[j + k];
        }
    }
    return ((lane[0] + lane[1]) + (lane[2] + lane[3])) + ((lane[4] + lane[5]) + (lane[6] + lane[7]));
}

#endif
