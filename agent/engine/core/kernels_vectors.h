// What all kernels are written with: the compiler's vectors, activations, and what happens to a result while it is at hand. Compiled once
// for each instruction set, as kernels_impl.h says.
#pragma once

#include "kernels.h"

namespace katago_agent {
namespace {

typedef float Vec __attribute__((vector_size(KA_LANES * 4), aligned(4), may_alias));
typedef int32_t VecInt __attribute__((vector_size(KA_LANES * 4), aligned(4), may_alias));

constexpr int64_t kLanes = KA_LANES;
constexpr int64_t kVecs = kPanel / kLanes;

inline Vec load(const float* from) { return *reinterpret_cast<const Vec*>(from); }
inline void store(float* to, Vec value) { *reinterpret_cast<Vec*>(to) = value; }
inline Vec splat(float value) { return value - Vec{}; }
inline Vec larger(Vec a, Vec b) { return a > b ? a : b; }
inline Vec smaller(Vec a, Vec b) { return a < b ? a : b; }

// Asks for the cache lines of so many floats, some of which may lie beyond what there is: nothing is read. Inlined always, as GCC takes a
// function that only fetches for one without effect and leaves out calls of it.
#define KA_FETCHES __attribute__((always_inline)) inline
KA_FETCHES void fetch(const float* from, int64_t floats) {
  for (int64_t line = 0; line < floats; line += kPanel) __builtin_prefetch(from + line, 0, 2);
}

// ---------------------------------------------------------------- activations

// e^x to 2 ulp for -87 <= x <= 88, which is clamped to: 2^round(x / ln 2) times a polynomial of the rest (Cephes' coefficients).
inline Vec exponential(Vec x) {
  x = smaller(larger(x, splat(-87.0f)), splat(88.0f));
  const Vec shifted = x * 1.44269504f + 12582912.0f;  // 1.5 * 2^23: the sum's low bits are the rounded quotient
  const Vec whole = shifted - 12582912.0f;
  const Vec rest = x - whole * 0.693359375f + whole * 2.12194440e-4f;
  Vec p = splat(1.9875691500e-4f);
  p = p * rest + 1.3981999507e-3f;
  p = p * rest + 8.3334519073e-3f;
  p = p * rest + 4.1665795894e-2f;
  p = p * rest + 1.6666665459e-1f;
  p = p * rest + 5.0000001201e-1f;
  p = p * rest * rest + rest + 1.0f;
  const VecInt power = (reinterpret_cast<VecInt>(shifted) + 127) << 23;  // the exponent's bits; the magic number's own are shifted out
  return p * reinterpret_cast<Vec>(power);
}

// x tanh(ln(1 + e^x)) = x t / (t + 2) with t = e^x (e^x + 2). Beyond 20 the quotient is 1 in float32.
inline Vec mish(Vec x) {
  const Vec e = exponential(smaller(x, splat(20.0f)));
  const Vec t = e * (e + 2.0f);
  return x * (t / (t + 2.0f));
}

inline Vec silu(Vec x) { return x / (exponential(-x) + 1.0f); }

template <Activation kind>
inline Vec activate(Vec x) {
  if constexpr (kind == Activation::kRelu) return larger(x, Vec{});
  if constexpr (kind == Activation::kMish) return mish(x);
  if constexpr (kind == Activation::kSilu) return silu(x);
  return x;
}

inline Vec activate(Activation kind, Vec x) {
  switch (kind) {
    case Activation::kRelu: return activate<Activation::kRelu>(x);
    case Activation::kMish: return activate<Activation::kMish>(x);
    case Activation::kSilu: return activate<Activation::kSilu>(x);
    default: return x;
  }
}

// ---------------------------------------------------------------- epilogue

inline void finishVec(Vec value, float* out, int64_t offset, int64_t channel, const float* column, const Epilogue& epilogue) {
  if (epilogue.bias) value += load(epilogue.bias + channel);
  if (column) value += load(column + channel);
  value = activate(epilogue.activation, value);
  if (epilogue.accumulate) value += load(out + offset);
  store(out + offset, value);
  if (epilogue.next) {
    const Vec line = value * load(epilogue.nextScale + channel) + load(epilogue.nextBias + channel);
    store(epilogue.next + offset, activate(epilogue.nextActivation, line));
  }
}

}  // namespace

}  // namespace katago_agent
