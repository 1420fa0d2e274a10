// The kernels, written with the compiler's vectors. Included by one file for each instruction set, which says how wide a vector is
// (KA_LANES floats), how many rows of a product fit its registers (KA_ROWS), and what the table is called (KA_KERNELS).
//
// Nothing of the standard library may be used here: what the compiler would emit of it with these instructions could be linked into the
// rest of the core, which runs on every processor.
#include "kernels_vectors.h"
#include "kernels_winograd.h"

namespace katago_agent {
namespace {

// ---------------------------------------------------------------- matrix product

template <int rows>
inline void block(const float* a, int64_t aStride, const float* b, int64_t depth, float* c, int64_t cStride) {
  Vec sums[rows][kVecs];
  for (int row = 0; row < rows; ++row) {
    for (int64_t j = 0; j < kVecs; ++j) sums[row][j] = Vec{};
  }
  for (int64_t k = 0; k < depth; ++k) {
    Vec right[kVecs];
    for (int64_t j = 0; j < kVecs; ++j) right[j] = load(b + k * kPanel + j * kLanes);
    for (int row = 0; row < rows; ++row) {
      const Vec left = splat(a[row * aStride + k]);
      for (int64_t j = 0; j < kVecs; ++j) sums[row][j] += left * right[j];
    }
  }
  for (int row = 0; row < rows; ++row) {
    for (int64_t j = 0; j < kVecs; ++j) store(c + row * cStride + j * kLanes, sums[row][j]);
  }
}

template <int rows>
inline void blockOf(int64_t wanted, const float* a, int64_t aStride, const float* b, int64_t depth, float* c, int64_t cStride) {
  if constexpr (rows > 1) {
    if (wanted < rows) return blockOf<rows - 1>(wanted, a, aStride, b, depth, c, cStride);
  }
  block<rows>(a, aStride, b, depth, c, cStride);
}

// Rows whose part of `a` stays in the second-level cache while all panels pass by.
constexpr int64_t kRowsAtOnce = 22 * KA_ROWS;

void multiply(const float* a, int64_t aStride, const float* b, int64_t depth, int64_t panels, float* c, int64_t cStride, int64_t rows) {
  for (int64_t start = 0; start < rows; start += kRowsAtOnce) {
    const int64_t count = rows - start < kRowsAtOnce ? rows - start : kRowsAtOnce;
    // Blocks of nearly equal height: a last one of a single row would run at a sixth of the speed.
    const int64_t blocks = (count + KA_ROWS - 1) / KA_ROWS, least = count / blocks, higher = count % blocks;
    const int64_t share = (depth + blocks - 1) / blocks * kPanel;
    for (int64_t panel = 0; panel < panels; ++panel) {
      const float* right = b + panel * depth * kPanel;
      int64_t row = start;
      for (int64_t i = 0; i < blocks; ++i) {
        const int64_t height = least + (i < higher ? 1 : 0);
        // A share of the next panel, the next block's rows before any panel has brought them, and where this block's sums go.
        fetch(right + depth * kPanel + i * share, share);
        if (panel == 0) fetch(a + (row + height) * aStride, height * aStride);
        for (int64_t at = row; at < row + height; ++at) fetch(c + at * cStride + panel * kPanel, kPanel);
        blockOf<KA_ROWS>(height, a + row * aStride, aStride, right, depth, c + row * cStride + panel * kPanel, cStride);
        row += height;
      }
    }
  }
}

// ---------------------------------------------------------------- epilogue

void finish(const float* sums, float* out, int64_t pixels, int64_t firstPixel, int64_t area, int64_t stride, const Epilogue& epilogue) {
  for (int64_t pixel = 0; pixel < pixels; ++pixel) {
    const int64_t at = firstPixel + pixel;
    const float* column = epilogue.column ? epilogue.column + at / area * stride : nullptr;
    for (int64_t channel = 0; channel < stride; channel += kLanes) {
      finishVec(load(sums + pixel * stride + channel), out, at * stride + channel, channel, column, epilogue);
    }
  }
}

// ---------------------------------------------------------------- the rest

void affine(const float* in, float* out, int64_t pixels, int64_t stride, const float* scale, const float* bias, Activation activation) {
  for (int64_t pixel = 0; pixel < pixels; ++pixel) {
    for (int64_t channel = 0; channel < stride; channel += kLanes) {
      const int64_t at = pixel * stride + channel;
      store(out + at, activate(activation, load(in + at) * load(scale + channel) + load(bias + channel)));
    }
  }
}

inline float sumOf(Vec value) {
  float sum = 0.0f;
  for (int64_t lane = 0; lane < kLanes; ++lane) sum += value[lane];
  return sum;
}

void rms(const float* in, float* out, int64_t groups, int64_t pixels, int64_t channels, int64_t stride, float epsilon, const float* scale,
         const float* bias, Activation activation) {
  for (int64_t group = 0; group < groups; ++group) {
    double total = 0.0;
    for (int64_t pixel = group * pixels; pixel < (group + 1) * pixels; ++pixel) {
      Vec squares{};
      for (int64_t channel = 0; channel < stride; channel += kLanes) {
        const Vec value = load(in + pixel * stride + channel);
        squares += value * value;
      }
      total += sumOf(squares);
    }
    const float factor = static_cast<float>(1.0 / __builtin_sqrt(total / static_cast<double>(pixels * channels) + epsilon));
    for (int64_t pixel = group * pixels; pixel < (group + 1) * pixels; ++pixel) {
      for (int64_t channel = 0; channel < stride; channel += kLanes) {
        const int64_t at = pixel * stride + channel;
        store(out + at, activate(activation, load(in + at) * factor * load(scale + channel) + load(bias + channel)));
      }
    }
  }
}

void times(float* to, const float* by, int64_t count) {
  for (int64_t i = 0; i < count; i += kLanes) store(to + i, load(to + i) * load(by + i));
}

// Whose power, e^-87 after clamping, is lost in a sum that holds a 1.
constexpr float kVanishing = -__builtin_inff();

void powers(float* rows, int64_t count, int64_t width, int64_t stride, float* sums) {
  for (int64_t row = 0; row < count; ++row) {
    float* values = rows + row * stride;
    for (int64_t i = width; i < stride; ++i) values[i] = kVanishing;
    Vec most = load(values);
    for (int64_t i = kLanes; i < stride; i += kLanes) most = larger(most, load(values + i));
    float largest = most[0];
    for (int64_t lane = 1; lane < kLanes; ++lane) largest = most[lane] > largest ? most[lane] : largest;
    Vec sum{};
    for (int64_t i = 0; i < stride; i += kLanes) {
      const Vec power = exponential(load(values + i) - largest);
      store(values + i, power);
      sum += power;
    }
    sums[row] = sumOf(sum);
  }
}

void pool(const float* in, int64_t area, int64_t stride, float* sum, float* largest) {
  for (int64_t channel = 0; channel < stride; channel += kLanes) {
    Vec total{}, most = load(in + channel);
    for (int64_t pixel = 0; pixel < area; ++pixel) {
      const Vec value = load(in + pixel * stride + channel);
      total += value;
      most = larger(most, value);
    }
    store(sum + channel, total);
    store(largest + channel, most);
  }
}

}  // namespace

const Kernels KA_KERNELS = {KA_NAME, multiply, finish, winogradIn, winogradOut, affine, rms, times, powers, pool};

}  // namespace katago_agent
