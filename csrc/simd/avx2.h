/* Sixteen float32 lanes in two AVX registers. */
#include <immintrin.h>
#include <float.h>
#include <math.h>

#include "blocks.h"
#include "exp32.h"
#include "exp64.h"

typedef struct {
    __m256 low, high;
} f32x16;

static inline f32x16 lanes_load(const float *x)
{
    return (f32x16){_mm256_loadu_ps(x), _mm256_loadu_ps(x + 8)};
}

static inline void lanes_store(float *x, f32x16 a)
{
    _mm256_storeu_ps(x, a.low);
    _mm256_storeu_ps(x + 8, a.high);
}

static inline f32x16 lanes_splat(float x)
{
    return (f32x16){_mm256_set1_ps(x), _mm256_set1_ps(x)};
}

static inline f32x16 lanes_add(f32x16 a, f32x16 b)
{
    return (f32x16){_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)};
}

static inline f32x16 lanes_sub(f32x16 a, f32x16 b)
{
    return (f32x16){_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high)};
}

static inline f32x16 lanes_mul(f32x16 a, f32x16 b)
{
    return (f32x16){_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)};
}

static inline f32x16 lanes_max(f32x16 a, f32x16 b)
{
    return (f32x16){_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)};
}

static inline uint32_t lanes_at_least(f32x16 a, f32x16 b)
{
    const int low = _mm256_movemask_ps(_mm256_cmp_ps(a.low, b.low, _CMP_GE_OQ));
    const int high = _mm256_movemask_ps(_mm256_cmp_ps(a.high, b.high, _CMP_GE_OQ));
    return (uint32_t)(low | high << 8);
}

static inline uint32_t lanes_nan(f32x16 a, f32x16 b)
{
    return (uint32_t)_mm256_movemask_ps(_mm256_or_ps(_mm256_cmp_ps(a.low, b.low, _CMP_UNORD_Q),
                                                     _mm256_cmp_ps(a.high, b.high, _CMP_UNORD_Q)));
}

static inline __m256 half_power(__m256 shifted)
{
    const __m256i n = _mm256_castps_si256(shifted); /* the permutations look at the low three bits */
    const __m256 even = _mm256_permutevar8x32_ps(_mm256_loadu_ps((const float *)exp32_table), n);
    const __m256 odd = _mm256_permutevar8x32_ps(_mm256_loadu_ps((const float *)exp32_table + 8), n);
    const __m256 bit3 = _mm256_castsi256_ps(_mm256_slli_epi32(n, 28)); /* as the sign */
    const __m256i step = _mm256_castps_si256(_mm256_blendv_ps(even, odd, bit3));
    return _mm256_castsi256_ps(_mm256_add_epi32(step, _mm256_slli_epi32(n, 23 - EXP32_LOG2_STEPS)));
}

static inline f32x16 lanes_power(f32x16 shifted)
{
    return (f32x16){half_power(shifted.low), half_power(shifted.high)};
}

static inline float lanes_sum(f32x16 a)
{
    const __m256 b = _mm256_add_ps(a.low, a.high);
    const __m128 c = _mm_add_ps(_mm256_castps256_ps128(b), _mm256_extractf128_ps(b, 1));
    const __m128 d = _mm_add_ps(c, _mm_movehl_ps(c, c));
    return _mm_cvtss_f32(_mm_add_ss(d, _mm_movehdup_ps(d)));
}

static inline float lanes_largest(f32x16 a)
{
    const __m256 b = _mm256_max_ps(a.low, a.high);
    const __m128 c = _mm_max_ps(_mm256_castps256_ps128(b), _mm256_extractf128_ps(b, 1));
    const __m128 d = _mm_max_ps(c, _mm_movehl_ps(c, c));
    return _mm_cvtss_f32(_mm_max_ss(d, _mm_movehdup_ps(d)));
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
    const __m256i zero = _mm256_setzero_si256();
    const __m256i low = _mm256_cmpeq_epi32(_mm256_loadu_si256((const __m256i *)words), zero);
    const __m256i high = _mm256_cmpeq_epi32(_mm256_loadu_si256((const __m256i *)(words + 8)), zero);
    const int zeros = _mm256_movemask_ps(_mm256_castsi256_ps(low)) |
                      _mm256_movemask_ps(_mm256_castsi256_ps(high)) << 8;
    return ~(uint32_t)zeros & 0xFFFF;
}

/* How four lanes are packed: for each four bits, the bytes of the lanes whose bit is set, then anything. */
#define LANE(k) (char)(4 * (k)), (char)(4 * (k) + 1), (char)(4 * (k) + 2), (char)(4 * (k) + 3)
#define FOUR(a, b, c, d) {LANE(a), LANE(b), LANE(c), LANE(d)}
static const char packed_four[16][16] = {
    FOUR(0, 0, 0, 0), FOUR(0, 0, 0, 0), FOUR(1, 0, 0, 0), FOUR(0, 1, 0, 0),
    FOUR(2, 0, 0, 0), FOUR(0, 2, 0, 0), FOUR(1, 2, 0, 0), FOUR(0, 1, 2, 0),
    FOUR(3, 0, 0, 0), FOUR(0, 3, 0, 0), FOUR(1, 3, 0, 0), FOUR(0, 1, 3, 0),
    FOUR(2, 3, 0, 0), FOUR(0, 2, 3, 0), FOUR(1, 2, 3, 0), FOUR(0, 1, 2, 3),
};

static inline void pack_four(uint32_t bits, const float *x, float *packed)
{
    const __m128i bytes = _mm_loadu_si128((const __m128i *)packed_four[bits & 0xF]);
    _mm_storeu_si128((__m128i *)packed, _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)x), bytes));
}

static inline size_t lanes_pack(uint32_t bits, const float *x, float *packed)
{
    pack_four(bits, x, packed);
    pack_four(bits >> 4, x + 4, packed + __builtin_popcount(bits & 0xF));
    pack_four(bits >> 8, x + 8, packed + __builtin_popcount(bits & 0xFF));
    pack_four(bits >> 12, x + 12, packed + __builtin_popcount(bits & 0xFFF));
    return (size_t)__builtin_popcount(bits);
}

typedef struct {
    __m256d low, high;
} f64x8;

static inline f64x8 lanes64_load(const double *x)
{
    return (f64x8){_mm256_loadu_pd(x), _mm256_loadu_pd(x + 4)};
}

static inline void lanes64_store(double *x, f64x8 a)
{
    _mm256_storeu_pd(x, a.low);
    _mm256_storeu_pd(x + 4, a.high);
}

static inline f64x8 lanes64_widen(const float *x)
{
    return (f64x8){_mm256_cvtps_pd(_mm_loadu_ps(x)), _mm256_cvtps_pd(_mm_loadu_ps(x + 4))};
}

static inline f64x8 lanes64_splat(double x)
{
    return (f64x8){_mm256_set1_pd(x), _mm256_set1_pd(x)};
}

static inline f64x8 lanes64_add(f64x8 a, f64x8 b)
{
    return (f64x8){_mm256_add_pd(a.low, b.low), _mm256_add_pd(a.high, b.high)};
}

static inline f64x8 lanes64_sub(f64x8 a, f64x8 b)
{
    return (f64x8){_mm256_sub_pd(a.low, b.low), _mm256_sub_pd(a.high, b.high)};
}

static inline f64x8 lanes64_mul(f64x8 a, f64x8 b)
{
    return (f64x8){_mm256_mul_pd(a.low, b.low), _mm256_mul_pd(a.high, b.high)};
}

static inline __m256d half_power64(__m256d shifted)
{
    const __m256i n = _mm256_castpd_si256(shifted);
    const __m256i at = _mm256_and_si256(n, _mm256_set1_epi64x(EXP64_STEPS - 1));
    const __m256i step = _mm256_i64gather_epi64((const long long *)exp64_table, at, sizeof exp64_table[0]);
    return _mm256_castsi256_pd(_mm256_add_epi64(step, _mm256_slli_epi64(n, 52 - EXP64_LOG2_STEPS)));
}

static inline f64x8 lanes64_power(f64x8 shifted)
{
    return (f64x8){half_power64(shifted.low), half_power64(shifted.high)};
}

static inline f64x8 lanes64_max(f64x8 a, f64x8 b)
{
    return (f64x8){_mm256_max_pd(a.low, b.low), _mm256_max_pd(a.high, b.high)};
}

static inline uint32_t lanes64_at_least(f64x8 a, f64x8 b)
{
    return (uint32_t)_mm256_movemask_pd(_mm256_cmp_pd(a.low, b.low, _CMP_GE_OQ)) |
           (uint32_t)_mm256_movemask_pd(_mm256_cmp_pd(a.high, b.high, _CMP_GE_OQ)) << 4;
}

static inline f64x8 lanes64_where_at_least(f64x8 a, f64x8 x, f64x8 least)
{
    return (f64x8){_mm256_and_pd(a.low, _mm256_cmp_pd(x.low, least.low, _CMP_GE_OQ)),
                   _mm256_and_pd(a.high, _mm256_cmp_pd(x.high, least.high, _CMP_GE_OQ))};
}
