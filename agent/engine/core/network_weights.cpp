#include "network_weights.h"

namespace katago_agent {

namespace {

// G of Winograd's F(4x4, 3x3) for the points 0, +-1, +-2 and infinity (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks").
constexpr double kWiden[6][3] = {{0.25, 0, 0},
                                 {-1.0 / 6, -1.0 / 6, -1.0 / 6},
                                 {-1.0 / 6, 1.0 / 6, -1.0 / 6},
                                 {1.0 / 24, 1.0 / 12, 1.0 / 6},
                                 {1.0 / 24, -1.0 / 12, 1.0 / 6},
                                 {0, 0, 1}};

PackedWeights empty(int64_t depth, int64_t out, int64_t matrices) {
  PackedWeights packed;
  packed.depth = depth;
  packed.panels = (out + kPanel - 1) / kPanel;
  packed.values.resize(static_cast<size_t>(matrices * packed.panels * depth * kPanel));
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
      packed.values[static_cast<size_t>(placeOf(packed, row, column))] = weights[row * out + column];
    }
  }
  return packed;
}

PackedWeights packPatches(const float* weights, int64_t out, int64_t in, int64_t window) {
  PackedWeights packed = empty(in * window, out, 1);
  for (int64_t column = 0; column < out; ++column) {
    for (int64_t channel = 0; channel < in; ++channel) {
      for (int64_t place = 0; place < window; ++place) {
        packed.values[static_cast<size_t>(placeOf(packed, place * in + channel, column))] = weights[(column * in + channel) * window + place];
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
      double half[6][3];
      for (int y = 0; y < 6; ++y) {
        for (int x = 0; x < 3; ++x) {
          half[y][x] = kWiden[y][0] * window[x] + kWiden[y][1] * window[3 + x] + kWiden[y][2] * window[6 + x];
        }
      }
      const int64_t place = placeOf(packed, row, column);
      for (int y = 0; y < 6; ++y) {
        for (int x = 0; x < 6; ++x) {
          const double value = half[y][0] * kWiden[x][0] + half[y][1] * kWiden[x][1] + half[y][2] * kWiden[x][2];
          packed.values[static_cast<size_t>((y * 6 + x) * matrix + place)] = static_cast<float>(value);
        }
      }
    }
  }
  return packed;
}

}  // namespace katago_agent
