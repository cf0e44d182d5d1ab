/* Which tokens may be drawn: bit j % 32 of word j / 32 is set if token j is allowed. */
#ifndef NUCLEUS_MASK_H
#define NUCLEUS_MASK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels.h"

struct mask {
    const uint32_t *words; /* NULL: every token is allowed. What the bits from n_vocab on are says nothing */
    bool narrow;           /* so few tokens are allowed that they are best written out */
};

static inline size_t mask_words(size_t n_vocab)
{
    return (n_vocab + 31) / 32;
}

static inline bool mask_allows(const uint32_t *words, int32_t id)
{
    return words[(uint32_t)id / 32] >> ((uint32_t)id % 32) & 1;
}

/* Return a mask of these words, which is narrow if it allows one token in 64 or fewer. */
static inline struct mask mask_of(const struct kernels *kernels, const uint32_t *words, size_t n_vocab)
{
    const size_t most = n_vocab / 64;
    const bool narrow = words != NULL && kernels->count_ones(words, mask_words(n_vocab), most) <= most;
    return (struct mask){words, narrow};
}

#endif
