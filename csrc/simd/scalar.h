/* Sixteen float32 lanes in plain C: the definition of what the other sets do. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "blocks.h"
#include "exp32.h"
#include "exp64.h"

typedef struct {
    float lane[LANES];
} f32x16;

#define EACH_LANE for (int k = 0; k < LANES; k++)

static inline f32x16 lanes_load(const float *x)
{
    f32x16 y;
    memcpy(&y, x, sizeof y);
    return y;
}

static inline void lanes_store(float *x, f32x16 a)
{
    memcpy(x, &a, sizeof a);
}

static inline f32x16 lanes_splat(float x)
{
    f32x16 y;
    EACH_LANE y.lane[k] = x;
    return y;
}

static inline f32x16 lanes_add(f32x16 a, f32x16 b)
{
    EACH_LANE a.lane[k] += b.lane[k];
    return a;
}

static inline f32x16 lanes_sub(f32x16 a, f32x16 b)
{
    EACH_LANE a.lane[k] -= b.lane[k];
    return a;
}

static inline f32x16 lanes_mul(f32x16 a, f32x16 b)
{
    EACH_LANE a.lane[k] *= b.lane[k];
    return a;
}

/* Return the larger of a and b; b where a is NaN. */
static inline f32x16 lanes_max(f32x16 a, f32x16 b)
{
    EACH_LANE a.lane[k] = a.lane[k] > b.lane[k] ? a.lane[k] : b.lane[k];
    return a;
}

/* Return a mask: bit k is set if lane k of a is at least that of b. */
static inline uint32_t lanes_at_least(f32x16 a, f32x16 b)
{
    uint32_t bits = 0;
    EACH_LANE bits |= (uint32_t)(a.lane[k] >= b.lane[k]) << k;
    return bits;
}

/* Return 0 if neither a nor b has a NaN. */
static inline uint32_t lanes_nan(f32x16 a, f32x16 b)
{
    uint32_t bits = 0;
    EACH_LANE bits |= (uint32_t)(a.lane[k] != a.lane[k]) | (uint32_t)(b.lane[k] != b.lane[k]);
    return bits;
}

/* Return 2^(n / 16) for shifted = EXP32_SHIFT + n. */
static inline f32x16 lanes_power(f32x16 shifted)
{
    EACH_LANE
    {
        uint32_t bits;
        memcpy(&bits, &shifted.lane[k], sizeof bits);
        bits = exp32_table[bits % EXP32_STEPS] + (bits << (23 - EXP32_LOG2_STEPS));
        memcpy(&shifted.lane[k], &bits, sizeof bits);
    }
    return shifted;
}

/* Add the upper half of the lanes to the lower half, until one lane is left. */
static inline float lanes_sum(f32x16 a)
{
    for (int half = LANES / 2; half > 0; half /= 2) {
        for (int k = 0; k < half; k++) {
            a.lane[k] += a.lane[k + half];
        }
    }
    return a.lane[0];
}

static inline float lanes_largest(f32x16 a)
{
    for (int half = LANES / 2; half > 0; half /= 2) {
        for (int k = 0; k < half; k++) {
            a.lane[k] = a.lane[k] > a.lane[k + half] ? a.lane[k] : a.lane[k + half];
        }
    }
    return a.lane[0];
}

/* Write the lanes whose bit is set, with their ids. Return how many there are. */
static inline size_t lanes_keep(uint32_t bits, const float *x, int32_t first, int32_t *id, float *found)
{
    size_t n = 0;
    EACH_LANE
    {
        id[n] = first + k;
        found[n] = x[k];
        n += bits >> k & 1;
    }
    return n;
}

/* Return a mask: bit k is set if word k of sixteen is not 0. */
static inline uint32_t lanes_any(const uint32_t *words)
{
    uint32_t bits = 0;
    EACH_LANE bits |= (uint32_t)(words[k] != 0) << k;
    return bits;
}

/* Write the lanes whose bit is set, one behind the other, and anything behind them up to sixteen entries in
 * all. Return how many there are. */
static inline size_t lanes_pack(uint32_t bits, const float *x, float *packed)
{
    size_t n = 0;
    EACH_LANE
    {
        packed[n] = x[k];
        n += bits >> k & 1;
    }
    return n;
}

/* --- eight float64 lanes --- */

typedef struct {
    double lane[LANES64];
} f64x8;

#define EACH_LANE64 for (int k = 0; k < LANES64; k++)

static inline f64x8 lanes64_load(const double *x)
{
    f64x8 y;
    memcpy(&y, x, sizeof y);
    return y;
}

static inline void lanes64_store(double *x, f64x8 a)
{
    memcpy(x, &a, sizeof a);
}

static inline f64x8 lanes64_widen(const float *x)
{
    f64x8 y;
    EACH_LANE64 y.lane[k] = (double)x[k];
    return y;
}

static inline f64x8 lanes64_splat(double x)
{
    f64x8 y;
    EACH_LANE64 y.lane[k] = x;
    return y;
}

static inline f64x8 lanes64_add(f64x8 a, f64x8 b)
{
    EACH_LANE64 a.lane[k] += b.lane[k];
    return a;
}

static inline f64x8 lanes64_sub(f64x8 a, f64x8 b)
{
    EACH_LANE64 a.lane[k] -= b.lane[k];
    return a;
}

static inline f64x8 lanes64_mul(f64x8 a, f64x8 b)
{
    EACH_LANE64 a.lane[k] *= b.lane[k];
    return a;
}

/* Return 2^(n / 16) for shifted = EXP64_SHIFT + n. */
static inline f64x8 lanes64_power(f64x8 shifted)
{
    EACH_LANE64
    {
        uint64_t bits;
        memcpy(&bits, &shifted.lane[k], sizeof bits);
        bits = exp64_table[bits % EXP64_STEPS] + (bits << (52 - EXP64_LOG2_STEPS));
        memcpy(&shifted.lane[k], &bits, sizeof bits);
    }
    return shifted;
}

static inline f64x8 lanes64_max(f64x8 a, f64x8 b)
{
    EACH_LANE64 a.lane[k] = a.lane[k] > b.lane[k] ? a.lane[k] : b.lane[k];
    return a;
}

/* Return a mask: bit k is set if lane k of a is at least that of b. */
static inline uint32_t lanes64_at_least(f64x8 a, f64x8 b)
{
    uint32_t bits = 0;
    EACH_LANE64 bits |= (uint32_t)(a.lane[k] >= b.lane[k]) << k;
    return bits;
}

/* Return a in the lanes where x is at least `least`, and 0 in the others, even where a is NaN. */
static inline f64x8 lanes64_where_at_least(f64x8 a, f64x8 x, f64x8 least)
{
    EACH_LANE64 a.lane[k] = x.lane[k] >= least.lane[k] ? a.lane[k] : 0.0;
    return a;
}
