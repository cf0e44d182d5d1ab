/* The kernels for AVX-512 (F, BW, DQ, VL). */
#if defined(__GNUC__) && defined(__x86_64__)
/* The instructions are for this file alone: kernels_usable() asks the processor before anything here runs. */
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,prefer-vector-width=512")
#endif

#include "kernels.h"
#include "simd/avx512.h"

#define KERNELS kernels_avx512
#define KERNELS_NAME "avx512"
#include "kernels.inc"

#ifdef __clang__
#pragma clang attribute pop
#endif

#endif
