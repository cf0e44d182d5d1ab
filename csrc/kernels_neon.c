/* The kernels for NEON, which every 64-bit ARM has. */
#if defined(__GNUC__) && defined(__aarch64__)

#include "kernels.h"
#include "simd/neon.h"

#define KERNELS kernels_neon
#define KERNELS_NAME "neon"
#include "kernels.inc"

#endif
