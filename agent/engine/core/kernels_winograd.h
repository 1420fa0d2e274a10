// Winograd's method at kPoints and infinity: what lies before its products and after them. Compiled once for each instruction set, as
// kernels_impl.h says.
#pragma once

#include "kernels_vectors.h"

namespace katago_agent {
namespace {

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
// processor fetches runs of lines by itself, but not from kProducts places in turns.
KA_FETCHES void fetchProducts(const Tile& tile, const float* products, int64_t plane, int64_t channels, int64_t channel) {
  const int64_t share = (kProducts * kLanes + channels - 1) / channels, first = channel / kLanes * share;
  for (int64_t product = first; product < first + share && product < kProducts; ++product) {
    if (lacks(tile.height, product / kSpan) || lacks(tile.width, product % kSpan)) continue;
    fetch(products + product * plane, channels);
  }
}

KA_FETCHES void fetchPixels(const float* corner, int64_t xSize, int64_t channels, int64_t channel) {
  const int64_t share = (kTile * kTile * kLanes + channels - 1) / channels, first = channel / kLanes * share;
  for (int64_t pixel = first; pixel < first + share && pixel < kTile * kTile; ++pixel) {
    fetch(corner + (pixel / kTile * xSize + pixel % kTile) * channels, channels);
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

}  // namespace

}  // namespace katago_agent
