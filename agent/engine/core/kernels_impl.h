// The kernels, written with the compiler's vectors. Included by one file for each instruction set, which says how wide a vector is
// (KA_LANES floats), how many rows of a product fit its registers (KA_ROWS), and what the table is called (KA_KERNELS).
//
// Nothing of the standard library may be used here: what the compiler would emit of it with these instructions could be linked into the
// rest of the core, which runs on every processor.
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

// Asks for the rows `from` to `to` of a panel, a cache line each, that will be needed next. Beyond the end of the weights nothing is read.
inline void fetch(const float* panel, int64_t from, int64_t to) {
  for (int64_t row = from; row < to; ++row) __builtin_prefetch(panel + row * kPanel, 0, 3);
}

// Rows whose part of `a` stays in the second-level cache while all panels pass by.
constexpr int64_t kRowsAtOnce = 16 * KA_ROWS;

void multiply(const float* a, int64_t aStride, const float* b, int64_t depth, int64_t panels, float* c, int64_t cStride, int64_t rows) {
  for (int64_t start = 0; start < rows; start += kRowsAtOnce) {
    const int64_t count = rows - start < kRowsAtOnce ? rows - start : kRowsAtOnce;
    // Blocks of nearly equal height: a last one of a single row would run at a sixth of the speed.
    const int64_t blocks = (count + KA_ROWS - 1) / KA_ROWS;
    for (int64_t panel = 0; panel < panels; ++panel) {
      const float* right = b + panel * depth * kPanel;
      for (int64_t i = 0; i < blocks; ++i) {
        const int64_t from = start + count * i / blocks, to = start + count * (i + 1) / blocks;
        fetch(right + depth * kPanel, depth * i / blocks, depth * (i + 1) / blocks);
        blockOf<KA_ROWS>(to - from, a + from * aStride, aStride, right, depth, c + from * cStride + panel * kPanel, cStride);
      }
    }
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

void finish(const float* sums, float* out, int64_t pixels, int64_t firstPixel, int64_t area, int64_t stride, const Epilogue& epilogue) {
  for (int64_t pixel = 0; pixel < pixels; ++pixel) {
    const int64_t at = firstPixel + pixel;
    const float* column = epilogue.column ? epilogue.column + at / area * stride : nullptr;
    for (int64_t channel = 0; channel < stride; channel += kLanes) {
      finishVec(load(sums + pixel * stride + channel), out, at * stride + channel, channel, column, epilogue);
    }
  }
}

// ---------------------------------------------------------------- Winograd's F(4x4, 3x3), points 0, +-1, +-2 and infinity

// B^T d: six inputs to six.
inline void widen(const Vec* d, int64_t step, Vec* out, int64_t outStep) {
  const Vec d0 = d[0], d1 = d[step], d2 = d[2 * step], d3 = d[3 * step], d4 = d[4 * step], d5 = d[5 * step];
  const Vec even = d4 - d2 * 4.0f, odd = d3 - d1 * 4.0f;
  const Vec even2 = d4 - d2, odd2 = (d3 - d1) * 2.0f;
  out[0] = d0 * 4.0f - d2 * 5.0f + d4;
  out[outStep] = even + odd;
  out[2 * outStep] = even - odd;
  out[3 * outStep] = even2 + odd2;
  out[4 * outStep] = even2 - odd2;
  out[5 * outStep] = d1 * 4.0f - d3 * 5.0f + d5;
}

// A^T m: six products to four outputs.
inline void narrow(const Vec* m, int64_t step, Vec* out, int64_t outStep) {
  const Vec m1 = m[step], m2 = m[2 * step], m3 = m[3 * step], m4 = m[4 * step];
  const Vec sum1 = m1 + m2, difference1 = m1 - m2, sum2 = m3 + m4, difference2 = m3 - m4;
  out[0] = m[0] + sum1 + sum2;
  out[outStep] = difference1 + difference2 * 2.0f;
  out[2 * outStep] = sum1 + sum2 * 4.0f;
  out[3 * outStep] = difference1 + difference2 * 8.0f + m[5 * step];
}

struct TilePlace {
  int64_t position, y, x;  // of the tile's first output
};

inline TilePlace placeOf(int64_t tile, int64_t ySize, int64_t xSize) {
  const int64_t across = (xSize + kTile - 1) / kTile, down = (ySize + kTile - 1) / kTile;
  const int64_t within = tile % (across * down);
  return {tile / (across * down), within / across * kTile, within % across * kTile};
}

void winogradIn(const float* map, int64_t ySize, int64_t xSize, int64_t channels, int64_t first, int64_t count, float* v) {
  for (int64_t i = 0; i < count; ++i) {
    const TilePlace place = placeOf(first + i, ySize, xSize);
    const float* position = map + place.position * ySize * xSize * channels;
    for (int64_t channel = 0; channel < channels; channel += kLanes) {
      Vec rows[36], whole[36];
      for (int64_t column = 0; column < 6; ++column) {
        const int64_t x = place.x + column - 1;
        Vec inputs[6];
        for (int64_t row = 0; row < 6; ++row) {
          const int64_t y = place.y + row - 1;
          const bool inside = y >= 0 && y < ySize && x >= 0 && x < xSize;
          inputs[row] = inside ? load(position + (y * xSize + x) * channels + channel) : Vec{};
        }
        widen(inputs, 1, rows + column, 6);
      }
      for (int64_t row = 0; row < 6; ++row) widen(rows + row * 6, 1, whole + row * 6, 1);
      for (int64_t product = 0; product < kProducts; ++product) {
        store(v + (product * count + i) * channels + channel, whole[product]);
      }
    }
  }
}

void winogradOut(const float* m, int64_t ySize, int64_t xSize, int64_t channels, int64_t first, int64_t count, float* out,
                 const Epilogue& epilogue) {
  for (int64_t i = 0; i < count; ++i) {
    const TilePlace place = placeOf(first + i, ySize, xSize);
    const int64_t rowsInside = ySize - place.y < kTile ? ySize - place.y : kTile;
    const int64_t columnsInside = xSize - place.x < kTile ? xSize - place.x : kTile;
    const int64_t corner = ((place.position * ySize + place.y) * xSize + place.x) * channels;
    const float* column = epilogue.column ? epilogue.column + place.position * channels : nullptr;
    for (int64_t channel = 0; channel < channels; channel += kLanes) {
      Vec products[36], rows[24], outputs[16];
      for (int64_t product = 0; product < kProducts; ++product) {
        products[product] = load(m + (product * count + i) * channels + channel);
      }
      for (int64_t x = 0; x < 6; ++x) narrow(products + x, 6, rows + x, 6);
      for (int64_t y = 0; y < 4; ++y) narrow(rows + y * 6, 1, outputs + y * 4, 1);
      for (int64_t y = 0; y < rowsInside; ++y) {
        for (int64_t x = 0; x < columnsInside; ++x) {
          const int64_t offset = corner + (y * xSize + x) * channels + channel;
          finishVec(outputs[y * 4 + x], out, offset, channel, column, epilogue);
        }
      }
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

const Kernels KA_KERNELS = {KA_NAME, multiply, finish, winogradIn, winogradOut, affine, pool};

}  // namespace katago_agent
