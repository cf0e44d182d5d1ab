/* Sixteen float32 lanes in one AVX-512 register. */
#include <immintrin.h>
#include <float.h>
#include <math.h>

#include "blocks.h"
#include "exp32.h"
#include "exp64.h"

typedef __m512 f32x16;

static inline f32x16 lanes_load(const float *x)
{
    return _mm512_loadu_ps(x);
}

static inline void lanes_store(float *x, f32x16 a)
{
    _mm512_storeu_ps(x, a);
}

static inline f32x16 lanes_splat(float x)
{
    return _mm512_set1_ps(x);
}

static inline f32x16 lanes_add(f32x16 a, f32x16 b)
{
    return _mm512_add_ps(a, b);
}

static inline f32x16 lanes_sub(f32x16 a, f32x16 b)
{
    return _mm512_sub_ps(a, b);
}

static inline f32x16 lanes_mul(f32x16 a, f32x16 b)
{
    return _mm512_mul_ps(a, b);
}

static inline f32x16 lanes_max(f32x16 a, f32x16 b)
{
    return _mm512_max_ps(a, b);
}

static inline uint32_t lanes_at_least(f32x16 a, f32x16 b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ);
}

static inline uint32_t lanes_nan(f32x16 a, f32x16 b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_UNORD_Q);
}

static inline f32x16 lanes_power(f32x16 shifted)
{
    const __m512i n = _mm512_castps_si512(shifted); /* the permutation looks at the low four bits */
    const __m512i step = _mm512_permutexvar_epi32(n, _mm512_loadu_si512(exp32_table));
    return _mm512_castsi512_ps(_mm512_add_epi32(step, _mm512_slli_epi32(n, 23 - EXP32_LOG2_STEPS)));
}

static inline float lanes_sum(f32x16 a)
{
    const __m256 b = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    const __m128 c = _mm_add_ps(_mm256_castps256_ps128(b), _mm256_extractf128_ps(b, 1));
    const __m128 d = _mm_add_ps(c, _mm_movehl_ps(c, c));
    return _mm_cvtss_f32(_mm_add_ss(d, _mm_movehdup_ps(d)));
}

static inline float lanes_largest(f32x16 a)
{
    return _mm512_reduce_max_ps(a);
}

static inline size_t lanes_keep(uint32_t bits, const float *x, int32_t first, int32_t *id, float *found)
{
    const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __mmask16 mask = (__mmask16)bits;
    /* Compress in a register and store it whole: a compressing store is slow on some processors. */
    const __m512i ids = _mm512_add_epi32(_mm512_set1_epi32(first), lane);
    _mm512_storeu_si512(id, _mm512_maskz_compress_epi32(mask, ids));
    _mm512_storeu_ps(found, _mm512_maskz_compress_ps(mask, _mm512_loadu_ps(x)));
    return (size_t)__builtin_popcount(bits);
}

static inline uint32_t lanes_any(const uint32_t *words)
{
    const __m512i x = _mm512_loadu_si512(words);
    return _mm512_test_epi32_mask(x, x);
}

static inline size_t lanes_pack(uint32_t bits, const float *x, float *packed)
{
    _mm512_storeu_ps(packed, _mm512_maskz_compress_ps((__mmask16)bits, _mm512_loadu_ps(x)));
    return (size_t)__builtin_popcount(bits);
}

typedef __m512d f64x8;

static inline f64x8 lanes64_load(const double *x)
{
    return _mm512_loadu_pd(x);
}

static inline void lanes64_store(double *x, f64x8 a)
{
    _mm512_storeu_pd(x, a);
}

static inline f64x8 lanes64_widen(const float *x)
{
    return _mm512_cvtps_pd(_mm256_loadu_ps(x));
}

static inline f64x8 lanes64_splat(double x)
{
    return _mm512_set1_pd(x);
}

static inline f64x8 lanes64_add(f64x8 a, f64x8 b)
{
    return _mm512_add_pd(a, b);
}

static inline f64x8 lanes64_sub(f64x8 a, f64x8 b)
{
    return _mm512_sub_pd(a, b);
}

static inline f64x8 lanes64_mul(f64x8 a, f64x8 b)
{
    return _mm512_mul_pd(a, b);
}

static inline f64x8 lanes64_power(f64x8 shifted)
{
    const __m512i n = _mm512_castpd_si512(shifted); /* the permutation looks at the low four bits */
    const __m512i low = _mm512_loadu_si512(exp64_table), high = _mm512_loadu_si512(exp64_table + 8);
    const __m512i step = _mm512_permutex2var_epi64(low, n, high);
    return _mm512_castsi512_pd(_mm512_add_epi64(step, _mm512_slli_epi64(n, 52 - EXP64_LOG2_STEPS)));
}

static inline f64x8 lanes64_max(f64x8 a, f64x8 b)
{
    return _mm512_max_pd(a, b);
}

static inline uint32_t lanes64_at_least(f64x8 a, f64x8 b)
{
    return _mm512_cmp_pd_mask(a, b, _CMP_GE_OQ);
}

static inline f64x8 lanes64_where_at_least(f64x8 a, f64x8 x, f64x8 least)
{
    return _mm512_maskz_mov_pd(_mm512_cmp_pd_mask(x, least, _CMP_GE_OQ), a);
}
