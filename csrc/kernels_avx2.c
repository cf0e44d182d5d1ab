/* The kernels for AVX2. */
#if defined(__GNUC__) && defined(__x86_64__)
/* The instructions are for this file alone: kernels_usable() asks the processor before anything here runs. */
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#else
#pragma GCC target("avx2")
#endif

#include "kernels.h"
#include "simd/avx2.h"

#define KERNELS kernels_avx2
#define KERNELS_NAME "avx2"
#include "kernels.inc"

#ifdef __clang__
#pragma clang attribute pop
#endif

#endif
