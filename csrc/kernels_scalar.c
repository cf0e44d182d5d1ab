/* The kernels in plain C. */
#include "kernels.h"
#include "simd/scalar.h"

#define KERNELS kernels_scalar
#define KERNELS_NAME "scalar"
#include "kernels.inc"
