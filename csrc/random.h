/* The random numbers: Philox4x32-10, a counter-based generator.
 *
 * Written from J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw, "Parallel Random Numbers: As Easy as 1, 2,
 * 3", SC 2011. A draw is a pure function of (seed, rng_stream, position): there is no state to advance, to
 * save or to share, so a choice draws the same in any batch. What these functions return is part of the
 * compatibility guarantee in docs/sampler.md: do not change them within a major version. */
#ifndef NUCLEUS_RANDOM_H
#define NUCLEUS_RANDOM_H

#include <stdint.h>

/* Replace the four words of `counter` by the generator's output under `key`. */
static inline void philox4x32_10(uint32_t counter[4], const uint32_t key[2])
{
    uint32_t key0 = key[0], key1 = key[1];
    for (int round = 0; round < 10; round++) {
        const uint64_t product0 = (uint64_t)0xD2511F53u * counter[0];
        const uint64_t product1 = (uint64_t)0xCD9E8D57u * counter[2];
        counter[0] = (uint32_t)(product1 >> 32) ^ counter[1] ^ key0;
        counter[1] = (uint32_t)product1;
        counter[2] = (uint32_t)(product0 >> 32) ^ counter[3] ^ key1;
        counter[3] = (uint32_t)product0;
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
}

/* Return the uniform number in [0, 1) of one draw: a multiple of 2^-53. key = seed (low, high); counter =
 * (position low, position high, rng_stream, 0); the first two words give 27 + 26 bits. */
static inline double draw_uniform(uint64_t seed, uint32_t rng_stream, uint64_t position)
{
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    uint32_t word[4] = {(uint32_t)position, (uint32_t)(position >> 32), rng_stream, 0};
    philox4x32_10(word, key);
    const uint64_t bits = (uint64_t)(word[0] >> 5) << 26 | word[1] >> 6;
    return (double)bits * 0x1p-53;
}

#endif
