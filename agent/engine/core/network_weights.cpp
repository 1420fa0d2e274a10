#include "network_weights.h"

namespace katago_agent {

namespace {

// G of Winograd's method (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks"): the filter's value at each point, divided
// by the product of the point's distances to the others; the last row is infinity's.
struct Widen {
  double rows[kSpan][3];
  constexpr Widen() : rows{} {
    for (int64_t i = 0; i + 1 < kSpan; ++i) {
      double distances = 1.0;
      for (int64_t j = 0; j + 1 < kSpan; ++j) distances *= i == j ? 1.0 : kPoints[i] - kPoints[j];
      rows[i][0] = 1.0 / distances;
      rows[i][1] = kPoints[i] / distances;
      rows[i][2] = kPoints[i] * kPoints[i] / distances;
    }
    rows[kSpan - 1][2] = 1.0;
  }
};
constexpr Widen kWiden;

PackedWeights empty(int64_t depth, int64_t out, int64_t matrices) {
  PackedWeights packed;
  packed.depth = depth;
  packed.panels = (out + kPanel - 1) / kPanel;
  packed.values = AlignedFloats(static_cast<size_t>(matrices * packed.panels * depth * kPanel));
  return packed;
}

int64_t placeOf(const PackedWeights& packed, int64_t row, int64_t column) {
  return (column / kPanel * packed.depth + row) * kPanel + column % kPanel;
}

}  // namespace

PackedWeights packMatrix(const float* weights, int64_t in, int64_t out) {
  PackedWeights packed = empty(in, out, 1);
  for (int64_t row = 0; row < in; ++row) {
    for (int64_t column = 0; column < out; ++column) {
      packed.values.data()[placeOf(packed, row, column)] = weights[row * out + column];
    }
  }
  return packed;
}

PackedWeights packPatches(const float* weights, int64_t out, int64_t in, int64_t window) {
  PackedWeights packed = empty(in * window, out, 1);
  for (int64_t column = 0; column < out; ++column) {
    for (int64_t channel = 0; channel < in; ++channel) {
      for (int64_t place = 0; place < window; ++place) {
        packed.values.data()[placeOf(packed, place * in + channel, column)] = weights[(column * in + channel) * window + place];
      }
    }
  }
  return packed;
}

PackedWeights packWinograd(const float* weights, int64_t out, int64_t in) {
  PackedWeights packed = empty(in, out, kProducts);
  const int64_t matrix = packed.panels * in * kPanel;
  for (int64_t column = 0; column < out; ++column) {
    for (int64_t row = 0; row < in; ++row) {
      const float* window = weights + (column * in + row) * 9;
      double half[kSpan][3];
      for (int64_t y = 0; y < kSpan; ++y) {
        const double* of = kWiden.rows[y];
        for (int64_t x = 0; x < 3; ++x) half[y][x] = of[0] * window[x] + of[1] * window[3 + x] + of[2] * window[6 + x];
      }
      float* to = packed.values.data() + placeOf(packed, row, column);
      for (int64_t y = 0; y < kSpan; ++y) {
        for (int64_t x = 0; x < kSpan; ++x) {
          const double* of = kWiden.rows[x];
          to[(y * kSpan + x) * matrix] = static_cast<float>(half[y][0] * of[0] + half[y][1] * of[1] + half[y][2] * of[2]);
        }
      }
    }
  }
  return packed;
}

}  // namespace katago_agent
