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

// Rows whose part of `a` stays in the second-level cache while all panels pass by.
constexpr int64_t kRowsAtOnce = 22 * KA_ROWS;

void multiply(const float* a, int64_t aStride, const float* b, int64_t depth, int64_t panels, float* c, int64_t cStride, int64_t rows) {
  for (int64_t start = 0; start < rows; start += kRowsAtOnce) {
    const int64_t count = rows - start < kRowsAtOnce ? rows - start : kRowsAtOnce;
    // Blocks of nearly equal height: a last one of a single row would run at a sixth of the speed.
    const int64_t blocks = (count + KA_ROWS - 1) / KA_ROWS, height = count / blocks, higher = count % blocks;
    const int64_t share = (depth + blocks - 1) / blocks;
    for (int64_t panel = 0; panel < panels; ++panel) {
      const float* right = b + panel * depth * kPanel;
      int64_t row = start;
      for (int64_t i = 0; i < blocks; ++i) {
        // The next panel, a cache line for each of its rows. Beyond the end of the weights nothing is read.
        const float* ahead = right + (depth + i * share) * kPanel;
        for (int64_t line = 0; line < share; ++line) __builtin_prefetch(ahead + line * kPanel, 0, 3);
        const int64_t rowsHere = height + (i < higher ? 1 : 0);
        blockOf<KA_ROWS>(rowsHere, a + row * aStride, aStride, right, depth, c + row * cStride + panel * kPanel, cStride);
        row += rowsHere;
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

// ---------------------------------------------------------------- Winograd's method, at kPoints and infinity

constexpr int64_t kInfinity = kSpan - 1;

// The product of p - q over the points q that tiles of `length` do without: what the weights were divided by too much for them.
template <int length>
constexpr float owed(int64_t point) {
  double factor = 1.0;
  for (int64_t other = length + 1; other <= kTile; ++other) factor *= kPoints[point] - kPoints[other];
  return static_cast<float>(factor);
}

// B^T d before that factor, length + 2 inputs to as many. One more point p makes it that of one point less on d[k + 1] - p d[k], and for p
// itself what infinity was on d.
template <int length>
inline void interpolate(const Vec* d, Vec* out) {
  if constexpr (length == 1) {
    out[0] = d[1] - d[0];
    out[1] = d[1];
    out[kInfinity] = d[2] - d[1];
  } else if constexpr (length == 2) {
    out[0] = d[2] - d[0];
    out[1] = d[2] + d[1];
    out[2] = d[2] - d[1];
    out[kInfinity] = d[3] - d[1];
  } else if constexpr (length == 4) {
    const Vec even = d[4] - d[2] * 4.0f, odd = d[3] - d[1] * 4.0f;
    const Vec even2 = d[4] - d[2], odd2 = (d[3] - d[1]) * 2.0f;
    out[0] = d[0] * 4.0f - d[2] * 5.0f + d[4];
    out[1] = even + odd;
    out[2] = even - odd;
    out[3] = even2 + odd2;
    out[4] = even2 - odd2;
    out[kInfinity] = d[1] * 4.0f - d[3] * 5.0f + d[5];
  } else {
    constexpr float point = static_cast<float>(kPoints[length]);
    Vec less[length + 1];
    for (int64_t k = 0; k <= length; ++k) less[k] = d[k + 1] - d[k] * point;
    interpolate<length - 1>(less, out);
    if constexpr (length == 3) out[3] = d[3] - d[1];
    if constexpr (length == 5) out[5] = d[1] * 4.0f - d[3] * 5.0f + d[5];
  }
}

template <int length>
inline void widen(const Vec* d, Vec* out) {
  interpolate<length>(d, out);
  if constexpr (length < kTile) {
    for (int64_t point = 0; point <= length; ++point) out[point] *= owed<length>(point);
  }
}

// A^T m: the products' values at the points, and infinity's, to outputs.
template <int length>
inline void narrow(const Vec* m, Vec* out) {
  const Vec last = m[kInfinity];
  if constexpr (length == 1) {
    out[0] = m[0] + m[1] + last;
  } else {
    const Vec sum1 = m[1] + m[2], difference1 = m[1] - m[2];
    if constexpr (length == 2) {
      out[0] = m[0] + sum1;
      out[1] = difference1 + last;
    } else if constexpr (length == 3) {
      out[0] = m[0] + sum1 + m[3];
      out[1] = difference1 + m[3] * 2.0f;
      out[2] = sum1 + m[3] * 4.0f + last;
    } else {
      const Vec sum2 = m[3] + m[4], difference2 = m[3] - m[4];
      out[0] = m[0] + sum1 + sum2;
      out[1] = difference1 + difference2 * 2.0f;
      out[2] = sum1 + sum2 * 4.0f;
      out[3] = difference1 + difference2 * 8.0f;
      if constexpr (length == 4) {
        out[3] += last;
      } else {
        out[4] = sum1 + sum2 * 16.0f + last;
        Vec share = m[5];
        for (int64_t k = 0; k < 5; ++k, share *= 0.5f) out[k] += share;
      }
    }
  }
}

template <template <int> class Work, typename... Arguments>
inline void forLength(int64_t length, Arguments... arguments) {
  switch (length) {
    case 1: return Work<1>::run(arguments...);
    case 2: return Work<2>::run(arguments...);
    case 3: return Work<3>::run(arguments...);
    case 4: return Work<4>::run(arguments...);
    default: return Work<kTile>::run(arguments...);
  }
}

// The inputs' columns: `lines` of them, [point, column] of `columns`; x and y are those of the first input.
template <int length>
struct WidenColumns {
  static void run(const float* board, int64_t y, int64_t x, int64_t ySize, int64_t xSize, int64_t channels, int64_t lines, Vec* columns) {
    for (int64_t column = 0; column < lines; ++column) {
      Vec inputs[length + 2], points[kSpan];
      for (int64_t row = 0; row < length + 2; ++row) {
        const bool inside = y + row >= 0 && y + row < ySize && x + column >= 0 && x + column < xSize;
        inputs[row] = inside ? load(board + ((y + row) * xSize + x + column) * channels) : Vec{};
      }
      widen<length>(inputs, points);
      for (int64_t point = 0; point <= length; ++point) columns[point * kSpan + column] = points[point];
      columns[kInfinity * kSpan + column] = points[kInfinity];
    }
  }
};

template <int length>
struct WidenRow {
  static void run(const Vec* row, float* v, int64_t plane) {
    Vec points[kSpan];
    widen<length>(row, points);
    for (int64_t point = 0; point <= length; ++point) store(v + point * plane, points[point]);
    store(v + kInfinity * plane, points[kInfinity]);
  }
};

// A tile shorter than kTile does without the points beyond its length, but never without infinity.
inline bool lacks(int64_t length, int64_t point) { return point > length && point < kInfinity; }

// A tile's vectors of channels are transformed one after the other; before each, a share of what the next tile will touch is asked for. The
// processor would fetch runs of lines by itself, but not from kProducts places in turns. Inlined always: GCC takes a function that only
// fetches for one without effect, and leaves out calls of it.
#define KA_FETCHES __attribute__((always_inline)) inline

KA_FETCHES void fetchProducts(const Tile& tile, const float* products, int64_t plane, int64_t channels, int64_t channel) {
  const int64_t share = (kProducts * kLanes + channels - 1) / channels, first = channel / kLanes * share;
  for (int64_t product = first; product < first + share && product < kProducts; ++product) {
    if (lacks(tile.height, product / kSpan) || lacks(tile.width, product % kSpan)) continue;
    for (int64_t line = 0; line < channels; line += kPanel) __builtin_prefetch(products + product * plane + line, 0, 2);
  }
}

KA_FETCHES void fetchPixels(const float* corner, int64_t xSize, int64_t channels, int64_t channel) {
  const int64_t share = (kTile * kTile * kLanes + channels - 1) / channels, first = channel / kLanes * share;
  for (int64_t pixel = first; pixel < first + share && pixel < kTile * kTile; ++pixel) {
    const float* from = corner + (pixel / kTile * xSize + pixel % kTile) * channels;
    for (int64_t line = 0; line < channels; line += kPanel) __builtin_prefetch(from + line, 0, 2);
  }
}

void winogradIn(const float* map, int64_t ySize, int64_t xSize, int64_t channels, const Tile* tiles, int64_t count, float* v, int64_t plane) {
  for (int64_t i = 0; i < count; ++i) {
    const Tile tile = tiles[i], next = tiles[i + 1 < count ? i + 1 : i];
    const float* board = map + tile.position * ySize * xSize * channels;
    for (int64_t channel = 0; channel < channels; channel += kLanes) {
      fetchProducts(next, v + (i + 1) * channels, plane, channels, channel);
      Vec columns[kProducts];
      forLength<WidenColumns>(tile.height, board + channel, tile.y - 1, tile.x - 1, ySize, xSize, channels, tile.width + 2, columns);
      float* to = v + i * channels + channel;
      for (int64_t point = 0; point < kSpan; ++point) {
        if (lacks(tile.height, point)) continue;
        forLength<WidenRow>(tile.width, columns + point * kSpan, to + point * kSpan * plane, plane);
      }
    }
  }
}

// Products of one column of points, `plane * kSpan` apart, to the tile's rows: [y, point] of `rows`.
template <int length>
struct NarrowColumn {
  static void run(const float* m, int64_t plane, Vec* rows) {
    Vec points[kSpan], outputs[length];
    for (int64_t point = 0; point <= length; ++point) points[point] = load(m + point * kSpan * plane);
    points[kInfinity] = load(m + kInfinity * kSpan * plane);
    narrow<length>(points, outputs);
    for (int64_t y = 0; y < length; ++y) rows[y * kSpan] = outputs[y];
  }
};

template <int length>
struct NarrowRow {
  static void run(const Vec* row, float* out, int64_t offset, int64_t step, int64_t channel, const float* column, const Epilogue& epilogue) {
    Vec outputs[length];
    narrow<length>(row, outputs);
    for (int64_t x = 0; x < length; ++x) finishVec(outputs[x], out, offset + x * step, channel, column, epilogue);
  }
};

void winogradOut(const float* m, int64_t plane, int64_t ySize, int64_t xSize, int64_t channels, const Tile* tiles, int64_t count, float* out,
                 const Epilogue& epilogue) {
  const auto cornerOf = [=](const Tile& tile) { return ((tile.position * ySize + tile.y) * xSize + tile.x) * channels; };
  for (int64_t i = 0; i < count; ++i) {
    const Tile tile = tiles[i], next = tiles[i + 1 < count ? i + 1 : i];
    const int64_t corner = cornerOf(tile), nextCorner = cornerOf(next);
    const float* column = epilogue.column ? epilogue.column + tile.position * channels : nullptr;
    for (int64_t channel = 0; channel < channels; channel += kLanes) {
      fetchProducts(next, m + (i + 1) * channels, plane, channels, channel);
      fetchPixels(out + nextCorner, xSize, channels, channel);
      if (epilogue.next) fetchPixels(epilogue.next + nextCorner, xSize, channels, channel);
      Vec rows[kTile * kSpan];
      const float* from = m + i * channels + channel;
      for (int64_t point = 0; point < kSpan; ++point) {
        if (lacks(tile.width, point)) continue;
        forLength<NarrowColumn>(tile.height, from + point * plane, plane, rows + point);
      }
      for (int64_t y = 0; y < tile.height; ++y) {
        forLength<NarrowRow, const Vec*, float*, int64_t, int64_t, int64_t, const float*, const Epilogue&>(
            tile.width, rows + y * kSpan, out, corner + y * xSize * channels + channel, channels, channel, column, epilogue);
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
