#include "kernels.h"

#include <string.h>

#include "exp32.h"
#include "exp64.h"

const uint32_t exp32_table[EXP32_STEPS] = {
    0x3f800000, 0x3f7daac3, 0x3f7b95c2, 0x3f79c3d3, 0x3f7837f0, 0x3f76f532, 0x3f75fed7, 0x3f75583f,
    0x3f7504f3, 0x3f7508a4, 0x3f75672a, 0x3f76248c, 0x3f7744fd, 0x3f78ccdf, 0x3f7ac0c7, 0x3f7d257d,
};

const uint64_t exp64_table[EXP64_STEPS] = {
    0x3ff0000000000000, 0x3fefb5586cf9890f, 0x3fef72b83c7d517b, 0x3fef387a6e756238,
    0x3fef06fe0a31b715, 0x3feedea64c123422, 0x3feebfdad5362a27, 0x3feeab07dd485429,
    0x3feea09e667f3bcd, 0x3feea11473eb0187, 0x3feeace5422aa0db, 0x3feec49182a3f090,
    0x3feee89f995ad3ad, 0x3fef199bdd85529c, 0x3fef5818dcfba487, 0x3fefa4afa2a490da,
};

double exp_scale_at(double temperature)
{
    /* Lower ones count as this: the quotient must be finite, since 0 times infinity would be NaN. */
    const double lowest = 1e-300;
    return EXP64_STEPS * EXP64_LOG2_E / (temperature > lowest ? temperature : lowest);
}

struct weighing weighing_at(double temperature)
{
    /* Bounded on both sides, so that neither number is 0 or infinite. */
    const double least = 0x1p-100, most = 0x1p100;
    double scale = exp_scale_at(temperature) * EXP32_STEPS / EXP64_STEPS;
    if (scale > most) {
        scale = most;
    } else if (scale < least) {
        scale = least;
    }
    return (struct weighing){(float)scale, -126.0f * EXP32_STEPS / (float)scale};
}

extern const struct kernels kernels_avx512, kernels_avx2, kernels_neon, kernels_scalar;

const struct kernels *const *kernels_usable(void)
{
    static const struct kernels *usable[4]; /* the last one stays NULL */
    size_t n = 0;
#if defined(__GNUC__) && defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
        usable[n++] = &kernels_avx512;
    }
    if (__builtin_cpu_supports("avx2")) {
        usable[n++] = &kernels_avx2;
    }
#elif defined(__GNUC__) && defined(__aarch64__)
    usable[n++] = &kernels_neon;
#endif
    usable[n] = &kernels_scalar;
    return usable;
}

const struct kernels *kernels_named(const char *name)
{
    for (const struct kernels *const *set = kernels_usable(); *set != NULL; set++) {
        if (strcmp((*set)->name, name) == 0) {
            return *set;
        }
    }
    return NULL;
}
