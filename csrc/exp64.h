/* The exponential of the float64 kernels: 2^y for y <= 0, the same bits on every machine.
 *
 * libm's functions differ in the last bit between systems, and one bit can move a token over the cutoff of a
 * nucleus. This one is made of IEEE additions, multiplications and integer operations alone, in a fixed
 * order. y arrives as 16 y = n + f with n an integer and |f| <= 1/2, both exact. A table has the 16 values of
 * 2^(i / 16), and 2^(f / 16) = 1 + f p(f), where p interpolates at the Chebyshev nodes of the interval
 * (degree 4). Relative error: under 1e-14. */
#ifndef NUCLEUS_EXP64_H
#define NUCLEUS_EXP64_H

#include <stdint.h>

#define EXP64_STEPS 16
#define EXP64_LOG2_STEPS 4
#define EXP64_LOG2_E 0x1.71547652b82fep+0

/* Below this 16 y, that of e^-708, the result is exactly 0: e^-708 is near the smallest normal double, and no
 * draw of 53 bits tells a probability of 10^-307 from none. */
#define EXP64_LOWEST (-708.0 * EXP64_LOG2_E * EXP64_STEPS)

/* Adding this leaves the integer next to a number in the low bits of the significand. */
#define EXP64_SHIFT 0x1.8p52

#define EXP64_P0 0x1.62e42fefa39efp-5
#define EXP64_P1 0x1.ebfbdff6988c8p-11
#define EXP64_P2 0x1.c6b08d6faa1bep-17
#define EXP64_P3 0x1.3b2c4ac7da565p-23
#define EXP64_P4 0x1.5d893e58acc63p-30

/* Bits of 2^(i / 16), less i << 48: adding n << 48 for n = 16 e + i then leaves 2^(i / 16) 2^e. */
extern const uint64_t exp64_table[EXP64_STEPS];

#endif
