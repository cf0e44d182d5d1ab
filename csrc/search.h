/* Binary searches in ascending arrays. */
#ifndef NUCLEUS_SEARCH_H
#define NUCLEUS_SEARCH_H

#include <stddef.h>
#include <stdint.h>

/* Return the first of n ascending sums that exceeds `target`; n if none does. */
static inline size_t first_beyond(const double *sum, size_t n, double target)
{
    size_t low = 0, high = n;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (sum[middle] > target) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

/* Return the first of n ascending ids that is not below `id`; n if all are below. */
static inline size_t first_from(const int32_t *ids, size_t n, int32_t id)
{
    size_t low = 0, high = n;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (ids[middle] < id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

#endif
