/* exp(x) for x <= 0 in float64, the same bits on every machine.
 *
 * libm's exp differs in the last bit between systems, and one bit can move a token over the edge of a
 * nucleus. This one uses only IEEE additions, multiplications and integer operations, so it rounds alike
 * everywhere (the build forbids contraction to fused multiply-adds), and it has no branch, so compilers
 * vectorise the loops that call it.
 */
#ifndef NUCLEUS_EXP_H
#define NUCLEUS_EXP_H

#include <stdint.h>
#include <string.h>

/* Below this the result is exactly 0: e^-708 is near the smallest normal double, and no draw of 53 bits
 * tells a probability of 10^-307 from none. */
#define EXP_LOWEST (-708.0)

/* exp(x) with a relative error under 2^-52; 1 for x = 0, and 0 for x < EXP_LOWEST (so for -inf).
 *
 * x = k ln 2 + r with |r| <= ln 2 / 2 (Cody and Waite: ln 2 in two parts, the first with 32 bits so that k
 * times it is exact); exp(r) = 1 + r + r^2 q(r), where q interpolates at the Chebyshev nodes of the
 * interval (degree 9, relative error of exp 1.6e-17). */
static inline double exp_nonpositive(double x)
{
    const double shift = 0x1.8p52; /* adding it leaves round(x / ln 2) in the low bits of the significand */
    const double shifted = x * 0x1.71547652b82fep+0 + shift;
    const double k = shifted - shift;
    const double r = (x - k * 0x1.62e42fee00000p-1) - k * 0x1.a39ef35793c76p-33;

    double q = 0x1.af38a9b0ec855p-26;
    q = q * r + 0x1.289185613a3d6p-22;
    q = q * r + 0x1.71de0dae63bb3p-19;
    q = q * r + 0x1.a019b90d2ae7ap-16;
    q = q * r + 0x1.a01a01a7c41d5p-13;
    q = q * r + 0x1.6c16c1788bd90p-10;
    q = q * r + 0x1.11111111109b3p-7;
    q = q * r + 0x1.5555555553d63p-5;
    q = q * r + 0x1.5555555555556p-3;
    q = q * r + 0x1.0000000000001p-1;
    const double power = 1.0 + (r + r * r * q);

    const double above_lowest = x - EXP_LOWEST;
    uint64_t power_bits, k_bits, above_bits;
    memcpy(&power_bits, &power, sizeof power);
    memcpy(&k_bits, &shifted, sizeof k_bits);
    memcpy(&above_bits, &above_lowest, sizeof above_bits);
    power_bits += k_bits << 52; /* times 2^k: k goes to the exponent field */
    /* Below EXP_LOWEST the bits mean nothing: all zeros. The mask is made of a sign, not of a comparison,
     * which would keep compilers from vectorising. */
    power_bits &= (above_bits >> 63) - 1u;
    double result;
    memcpy(&result, &power_bits, sizeof result);
    return result;
}

#endif
