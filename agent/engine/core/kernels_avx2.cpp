// x86-64 with AVX2 and FMA (Haswell, Zen and later): a block of sums takes 6 x 2 of 16 registers. CMake compiles this file, and no other,
// for these instructions.
#if defined(__x86_64__)
#define KA_LANES 8
#define KA_ROWS 6
#define KA_NAME "AVX2"
#define KA_KERNELS kAvx2Kernels
#include "kernels_impl.h"
#endif
