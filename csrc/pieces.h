/* How a row is read: in pieces of PIECE_GROUPS whole groups, which stay in the nearest cache between two
 * passes. The tail is a piece by itself. */
#ifndef NUCLEUS_PIECES_H
#define NUCLEUS_PIECES_H

#include <stdbool.h>
#include <stddef.h>

#include "row.h"

enum { PIECE_GROUPS = 16 }; /* 16 KiB of logits */

struct piece {
    size_t number, first, groups;
};

static inline size_t piece_count(size_t n)
{
    const size_t whole = n / GROUP;
    return (whole + PIECE_GROUPS - 1) / PIECE_GROUPS + (n % GROUP != 0);
}

/* Move on to the next piece, the first one from a zeroed piece. Return false at the end of the row. */
static inline bool next_piece(const struct row *row, struct piece *piece)
{
    const size_t whole = row->n / GROUP, first = piece->first + piece->groups;
    if (first == row->groups) {
        return false;
    }
    const size_t left = first < whole ? whole - first : 1;
    piece->number += piece->groups > 0;
    piece->first = first;
    piece->groups = left < PIECE_GROUPS ? left : PIECE_GROUPS;
    return true;
}

/* Return the bits of a mask from a group on. */
static inline const uint32_t *group_mask(const struct row *row, size_t group)
{
    return (group + 1) * GROUP <= row->n ? row->mask + group * (GROUP / 32) : row->tail_mask;
}

/* Drop the entries behind the end of a row, which are the last that were gathered. */
static inline size_t row_drop_padding(const struct row *row, const int32_t *id, size_t count)
{
    while (count > 0 && (size_t)id[count - 1] >= row->n) {
        count--;
    }
    return count;
}

#endif
