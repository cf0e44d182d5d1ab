/* The kernels in plain C. */
#include "kernels.h"
#include "lanes_scalar.h"

#define KERNELS kernels_scalar
#define KERNELS_NAME "scalar"
#include "kernels.inc"
