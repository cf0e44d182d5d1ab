/* The exponential of the float32 kernels: exp(d / T) for d <= 0, as 2^(n / 16) 2^(f / 16) with n an integer
 * and |f| <= 1/2. A table has the 16 values of 2^(i / 16), a quadratic does the rest.
 *
 * Relative error: under 0.43e-6 from the quadratic, three roundings of the result, and three of the
 * exponent, each of which is 2^-24 of it (mass_error() in row.c adds them up). */
#ifndef NUCLEUS_EXP32_H
#define NUCLEUS_EXP32_H

#include <stdint.h>

#define EXP32_STEPS 16
#define EXP32_LOG2_STEPS 4

/* Adding this to |y| < 2^22 leaves the integer next to y in the low bits of the significand. */
#define EXP32_SHIFT 0x1.8p23f

/* 2^(f / 16) = 1 + f (C1 + f C2): with a = ln 2 / 16, C2 = a^2 / 2, and C1 = a + a^3 / 32 keeps the
 * error from the cubic term even over |f| <= 1/2 (Chebyshev). */
#define EXP32_C1 0x1.62e984p-5f
#define EXP32_C2 0x1.ebfbe0p-11f

/* Bits of 2^(i / 16), less i << 19: adding n << 19 for n = 16 e + i then leaves 2^(i / 16) 2^e. */
extern const uint32_t exp32_table[EXP32_STEPS];

#endif
