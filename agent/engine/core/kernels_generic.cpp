// For every processor of the architecture: NEON on arm64, SSE2 on x86-64. A block of sums takes 6 x 4 of NEON's 32 registers; SSE2 has 16.
#if defined(__aarch64__)
#define KA_ROWS 6
#define KA_NAME "NEON"
#else
#define KA_ROWS 2
#define KA_NAME "SSE2"
#endif
#define KA_LANES 4
#define KA_KERNELS kGenericKernels
#include "kernels_impl.h"
