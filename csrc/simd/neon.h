/* Sixteen float32 lanes in four NEON registers. */
#include <arm_neon.h>
#include <float.h>
#include <math.h>

#include "blocks.h"
#include "exp32.h"
#include "exp64.h"

typedef struct {
    float32x4_t quarter[4];
} f32x16;

#define EACH_QUARTER for (int j = 0; j < 4; j++)

static inline f32x16 lanes_load(const float *x)
{
    f32x16 y;
    EACH_QUARTER y.quarter[j] = vld1q_f32(x + 4 * j);
    return y;
}

static inline void lanes_store(float *x, f32x16 a)
{
    EACH_QUARTER vst1q_f32(x + 4 * j, a.quarter[j]);
}

static inline f32x16 lanes_splat(float x)
{
    f32x16 y;
    EACH_QUARTER y.quarter[j] = vdupq_n_f32(x);
    return y;
}

static inline f32x16 lanes_add(f32x16 a, f32x16 b)
{
    EACH_QUARTER a.quarter[j] = vaddq_f32(a.quarter[j], b.quarter[j]);
    return a;
}

static inline f32x16 lanes_sub(f32x16 a, f32x16 b)
{
    EACH_QUARTER a.quarter[j] = vsubq_f32(a.quarter[j], b.quarter[j]);
    return a;
}

static inline f32x16 lanes_mul(f32x16 a, f32x16 b)
{
    EACH_QUARTER a.quarter[j] = vmulq_f32(a.quarter[j], b.quarter[j]);
    return a;
}

/* A selection, since vmaxq_f32 would return a NaN. */
static inline f32x16 lanes_max(f32x16 a, f32x16 b)
{
    EACH_QUARTER a.quarter[j] =
        vbslq_f32(vcgtq_f32(a.quarter[j], b.quarter[j]), a.quarter[j], b.quarter[j]);
    return a;
}

static inline uint32_t lanes_at_least(f32x16 a, f32x16 b)
{
    const uint32x4_t place = {1, 2, 4, 8};
    uint32_t bits = 0;
    EACH_QUARTER bits |= vaddvq_u32(vandq_u32(vcgeq_f32(a.quarter[j], b.quarter[j]), place)) << 4 * j;
    return bits;
}

static inline uint32_t lanes_nan(f32x16 a, f32x16 b)
{
    uint32x4_t sound = vdupq_n_u32(UINT32_MAX);
    EACH_QUARTER sound = vandq_u32(sound, vandq_u32(vceqq_f32(a.quarter[j], a.quarter[j]),
                                                    vceqq_f32(b.quarter[j], b.quarter[j])));
    return ~vminvq_u32(sound);
}

static inline f32x16 lanes_power(f32x16 shifted)
{
    const uint8x16x4_t table = vld1q_u8_x4((const uint8_t *)exp32_table);
    EACH_QUARTER
    {
        const uint32x4_t n = vreinterpretq_u32_f32(shifted.quarter[j]);
        const uint32x4_t at = vandq_u32(n, vdupq_n_u32(EXP32_STEPS - 1));
        /* Word `at` of the table is its bytes 4 at to 4 at + 3. */
        const uint32x4_t bytes = vmlaq_u32(vdupq_n_u32(0x03020100u), at, vdupq_n_u32(0x04040404u));
        const uint32x4_t step = vreinterpretq_u32_u8(vqtbl4q_u8(table, vreinterpretq_u8_u32(bytes)));
        shifted.quarter[j] =
            vreinterpretq_f32_u32(vaddq_u32(step, vshlq_n_u32(n, 23 - EXP32_LOG2_STEPS)));
    }
    return shifted;
}

static inline float lanes_sum(f32x16 a)
{
    const float32x4_t low = vaddq_f32(a.quarter[0], a.quarter[2]);
    const float32x4_t high = vaddq_f32(a.quarter[1], a.quarter[3]);
    const float32x4_t four = vaddq_f32(low, high);
    const float32x2_t two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
    return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
}

static inline float lanes_largest(f32x16 a)
{
    return vmaxvq_f32(vmaxq_f32(vmaxq_f32(a.quarter[0], a.quarter[1]), vmaxq_f32(a.quarter[2], a.quarter[3])));
}

static inline size_t lanes_keep(uint32_t bits, const float *x, int32_t first, int32_t *id, float *found)
{
    size_t n = 0;
    for (; bits != 0; bits &= bits - 1) {
        const int k = __builtin_ctz(bits);
        id[n] = first + k;
        found[n++] = x[k];
    }
    return n;
}

static inline uint32_t lanes_any(const uint32_t *words)
{
    const uint32x4_t place = {1, 2, 4, 8};
    uint32_t bits = 0;
    EACH_QUARTER
    {
        const uint32x4_t x = vld1q_u32(words + 4 * j);
        bits |= vaddvq_u32(vandq_u32(vtstq_u32(x, x), place)) << 4 * j;
    }
    return bits;
}

static inline size_t lanes_pack(uint32_t bits, const float *x, float *packed)
{
    size_t n = 0;
    for (int k = 0; k < LANES; k++) {
        packed[n] = x[k]; /* without a branch, which nobody could predict */
        n += bits >> k & 1;
    }
    return n;
}

typedef struct {
    float64x2_t quarter[4];
} f64x8;

static inline f64x8 lanes64_load(const double *x)
{
    f64x8 y;
    EACH_QUARTER y.quarter[j] = vld1q_f64(x + 2 * j);
    return y;
}

static inline void lanes64_store(double *x, f64x8 a)
{
    EACH_QUARTER vst1q_f64(x + 2 * j, a.quarter[j]);
}

static inline f64x8 lanes64_widen(const float *x)
{
    f64x8 y;
    EACH_QUARTER y.quarter[j] = vcvt_f64_f32(vld1_f32(x + 2 * j));
    return y;
}

static inline f64x8 lanes64_splat(double x)
{
    f64x8 y;
    EACH_QUARTER y.quarter[j] = vdupq_n_f64(x);
    return y;
}

static inline f64x8 lanes64_add(f64x8 a, f64x8 b)
{
    EACH_QUARTER a.quarter[j] = vaddq_f64(a.quarter[j], b.quarter[j]);
    return a;
}

static inline f64x8 lanes64_sub(f64x8 a, f64x8 b)
{
    EACH_QUARTER a.quarter[j] = vsubq_f64(a.quarter[j], b.quarter[j]);
    return a;
}

static inline f64x8 lanes64_mul(f64x8 a, f64x8 b)
{
    EACH_QUARTER a.quarter[j] = vmulq_f64(a.quarter[j], b.quarter[j]);
    return a;
}

static inline f64x8 lanes64_power(f64x8 shifted)
{
    EACH_QUARTER
    {
        const uint64x2_t n = vreinterpretq_u64_f64(shifted.quarter[j]);
        const uint64x2_t step = {exp64_table[vgetq_lane_u64(n, 0) % EXP64_STEPS],
                                 exp64_table[vgetq_lane_u64(n, 1) % EXP64_STEPS]};
        shifted.quarter[j] = vreinterpretq_f64_u64(vaddq_u64(step, vshlq_n_u64(n, 52 - EXP64_LOG2_STEPS)));
    }
    return shifted;
}

static inline f64x8 lanes64_max(f64x8 a, f64x8 b)
{
    EACH_QUARTER a.quarter[j] = vmaxq_f64(a.quarter[j], b.quarter[j]);
    return a;
}

static inline uint32_t lanes64_at_least(f64x8 a, f64x8 b)
{
    uint32_t bits = 0;
    EACH_QUARTER
    {
        const uint64x2_t reached = vcgeq_f64(a.quarter[j], b.quarter[j]);
        bits |= (uint32_t)(vgetq_lane_u64(reached, 0) & 1) << 2 * j;
        bits |= (uint32_t)(vgetq_lane_u64(reached, 1) & 1) << (2 * j + 1);
    }
    return bits;
}

static inline f64x8 lanes64_where_at_least(f64x8 a, f64x8 x, f64x8 least)
{
    EACH_QUARTER
    {
        const uint64x2_t kept = vcgeq_f64(x.quarter[j], least.quarter[j]);
        a.quarter[j] = vreinterpretq_f64_u64(vandq_u64(vreinterpretq_u64_f64(a.quarter[j]), kept));
    }
    return a;
}
