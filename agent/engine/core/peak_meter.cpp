#include "peak_meter.h"

#include <algorithm>
#include <chrono>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

// Assembly, because a compiler would see that the results are not used, or the same every time. No instruction depends on one that has
// not ended: 12 sums (24 on Arm) are more than latency times instructions per cycle on any core of today.

#define KA_REPEAT6(M) M(0) M(1) M(2) M(3) M(4) M(5)
#define KA_REPEAT12(M) KA_REPEAT6(M) M(6) M(7) M(8) M(9) M(10) M(11)
#define KA_REPEAT24(M) KA_REPEAT12(M) M(12) M(13) M(14) M(15) M(16) M(17) M(18) M(19) M(20) M(21) M(22) M(23)

namespace {

// `run` executes its loop `rounds` times, each of which does `products` multiply-adds.
struct Meter {
  void (*run)(int64_t rounds) = nullptr;
  double products = 0.0;
};

#if defined(__x86_64__)

#define KA_CLOBBERED                                                                                                                  \
  "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", \
      "cc", "memory"
#define KA_LOOP(BODY)                                                                                                  \
  asm volatile("vzeroall\n1:\n" BODY "sub $1, %0\njnz 1b\nvzeroupper\n" : "+r"(rounds) : : KA_CLOBBERED)

void runFma256(int64_t rounds) {
#define KA_FMA256(I) "vfmadd231ps %%ymm12, %%ymm13, %%ymm" #I "\n"
  KA_LOOP(KA_REPEAT12(KA_FMA256));
}

void runFma512(int64_t rounds) {
#define KA_FMA512(I) "vfmadd231ps %%zmm12, %%zmm13, %%zmm" #I "\n"
  KA_LOOP(KA_REPEAT12(KA_FMA512));
}

// Six chains of three, whose products do not wait for each other.
void runInt8(int64_t rounds) {
#define KA_MADD8(I) "vpmaddubsw %%ymm12, %%ymm13, %%ymm6\n" "vpmaddwd %%ymm14, %%ymm6, %%ymm6\n" "vpaddd %%ymm6, %%ymm" #I ", %%ymm" #I "\n"
  KA_LOOP(KA_REPEAT6(KA_MADD8));
}

// vpdpbusd ymmI, ymm12, ymm13 in its VEX form (AVX-VNNI), byte by byte for assemblers that do not know it; then in its EVEX form.
void runDotVex(int64_t rounds) {
#define KA_DOT_VEX(I) ".byte 0xc4, 0xc2, 0x1d, 0x50, 0xc5 + 8 * " #I "\n"
  KA_LOOP(KA_REPEAT6(KA_DOT_VEX) KA_DOT_VEX(6) KA_DOT_VEX(7));
}

void runDot512(int64_t rounds) {
#define KA_DOT512(I) "vpdpbusd %%zmm12, %%zmm13, %%zmm" #I "\n"
  KA_LOOP(KA_REPEAT12(KA_DOT512));
}

bool hasAvxVnni() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __builtin_cpu_supports("avx2") && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & (1u << 4));
}

Meter meterOf(int32_t kind) {
  __builtin_cpu_init();
  switch (kind) {
    case KA_PEAK_FP32:
      if (__builtin_cpu_supports("avx512f")) return {runFma512, 12.0 * 16};
      if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return {runFma256, 12.0 * 8};
      return {};
    case KA_PEAK_INT8:
      return __builtin_cpu_supports("avx2") ? Meter{runInt8, 6.0 * 32} : Meter{};
    case KA_PEAK_INT8_DOT:
      if (__builtin_cpu_supports("avx512vnni")) return {runDot512, 12.0 * 64};
      return hasAvxVnni() ? Meter{runDotVex, 8.0 * 32} : Meter{};
    default:
      return {};
  }
}

#elif defined(__aarch64__)

#define KA_CLOBBERED                                                                                                               \
  "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13", "v14", "v15", "v16", "v17", "v18", "v19", \
      "v20", "v21", "v22", "v23", "v24", "v25", "v26", "v27", "v28", "v29", "v30", "v31", "cc", "memory"
#define KA_LOOP(BODY)                                                                                                        \
  asm volatile("movi v30.16b, #0\nmovi v31.16b, #0\n1:\n" BODY "subs %0, %0, #1\nb.ne 1b\n" : "+r"(rounds) : : KA_CLOBBERED)

void runFma128(int64_t rounds) {
#define KA_FMLA(I) "fmla v" #I ".4s, v30.4s, v31.4s\n"
  KA_LOOP("movi v0.16b, #0\n" KA_REPEAT24(KA_FMLA));
}

void runInt8(int64_t rounds) {
#define KA_MULL(I) "smull v24.8h, v30.8b, v31.8b\n" "smlal2 v24.8h, v30.16b, v31.16b\n" "sadalp v" #I ".4s, v24.8h\n"
  KA_LOOP(KA_REPEAT12(KA_MULL));
}

void runDot(int64_t rounds) {
#define KA_SDOT(I) "sdot v" #I ".4s, v30.16b, v31.16b\n"
  KA_LOOP(".arch armv8.2-a+dotprod\n" KA_REPEAT24(KA_SDOT));
}

bool hasDotProduct() {
#if defined(__linux__)
  constexpr unsigned long kAsimdDotProduct = 1ul << 20;  // HWCAP_ASIMDDP, asm/hwcap.h
  return (getauxval(AT_HWCAP) & kAsimdDotProduct) != 0;
#else
  return false;
#endif
}

Meter meterOf(int32_t kind) {
  switch (kind) {
    case KA_PEAK_FP32:
      return {runFma128, 24.0 * 4};
    case KA_PEAK_INT8:
      return {runInt8, 12.0 * 16};
    case KA_PEAK_INT8_DOT:
      return hasDotProduct() ? Meter{runDot, 24.0 * 16} : Meter{};
    default:
      return {};
  }
}

#else

Meter meterOf(int32_t) { return {}; }

#endif

double secondsOf(void (*run)(int64_t), int64_t rounds) {
  const auto start = std::chrono::steady_clock::now();
  run(rounds);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

double ka_peak(int32_t kind, double seconds) {
  const Meter meter = meterOf(kind);
  if (meter.run == nullptr) return 0.0;
  // The best of stretches short enough that some are not interrupted, long enough that reading the clock is nothing.
  constexpr double kStretchSeconds = 1e-3;
  int64_t rounds = 1000;
  while (secondsOf(meter.run, rounds) < kStretchSeconds) rounds *= 2;
  double best = 0.0;
  for (double spent = 0.0; spent < seconds;) {
    const double stretch = secondsOf(meter.run, rounds);
    best = std::max(best, static_cast<double>(rounds) * meter.products / stretch);
    spent += stretch;
  }
  return best;
}
