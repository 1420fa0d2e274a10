// The arithmetic of a network, for each instruction set that this core was compiled for. network.cpp is written against this table and
// knows no instruction; kernels_impl.h is compiled once for each row of it.
//
// A "map" is [n, y, x, channels], a "column" [n, channels], both float32; channels are padded to a multiple of kPanel with zeros.
#pragma once

#include <cstdint>

namespace katago_agent {

// Output channels that a matrix product computes side by side; weights are packed in panels of so many.
constexpr int64_t kPanel = 16;
// Winograd's F(5x5, 3x3): tiles of 5x5 outputs from 7x7 inputs, so 49 products, instead of the 225 that convolution takes. The points are
// kPoints and infinity, the last; a tile of fewer outputs a side takes the first of kPoints and infinity, so it shares their weights.
constexpr int64_t kTile = 5;
constexpr int64_t kSpan = kTile + 2;
constexpr int64_t kProducts = kSpan * kSpan;
constexpr double kPoints[] = {0.0, 1.0, -1.0, 2.0, -2.0, 0.5};

enum class Activation : int32_t { kIdentity = 0, kRelu = 1, kMish = 2, kSilu = 3 };

// What happens to a convolution's sums: y = act(sum + bias + column), or sum added to what is there; then, where `next` is given,
// next = nextAct(y * nextScale + nextBias), the normalisation that the next block begins with. All pointers are to channel 0.
struct Epilogue {
  const float* bias = nullptr;    // [channels]
  const float* column = nullptr;  // [n, channels]
  Activation activation = Activation::kIdentity;
  bool accumulate = false;
  float* next = nullptr;  // a map
  const float* nextScale = nullptr;
  const float* nextBias = nullptr;
  Activation nextActivation = Activation::kIdentity;
};

// A tile's first output, and how many it has.
struct Tile {
  int64_t position, y, x, height, width;
};

struct Kernels {
  const char* name;
  // c [rows, cStride] = a [rows, aStride] (its first `depth` columns) x b, packed as [panels, depth, kPanel].
  void (*multiply)(const float* a, int64_t aStride, const float* b, int64_t depth, int64_t panels, float* c, int64_t cStride, int64_t rows);
  // out [pixels, stride] = epilogue of sums [pixels, stride]; `firstPixel` counts from the start of the batch, `area` pixels to a position.
  void (*finish)(const float* sums, float* out, int64_t pixels, int64_t firstPixel, int64_t area, int64_t stride, const Epilogue& epilogue);
  // v [kProducts, plane] from `count` tiles of `map`, whose channels are `channels` (padded): the floats of a tile and product lie at
  // tile * channels within the product's plane.
  void (*winogradIn)(const float* map, int64_t ySize, int64_t xSize, int64_t channels, const Tile* tiles, int64_t count, float* v,
                     int64_t plane);
  // The same tiles of `out` from m, which lies as v does.
  void (*winogradOut)(const float* m, int64_t plane, int64_t ySize, int64_t xSize, int64_t channels, const Tile* tiles, int64_t count,
                      float* out, const Epilogue& epilogue);
  // out = act(in * scale + bias), [pixels, stride].
  void (*affine)(const float* in, float* out, int64_t pixels, int64_t stride, const float* scale, const float* bias, Activation activation);
  // out = act(in / root(mean of squares + epsilon) * scale + bias), the mean over the channels of `pixels` pixels, for each of `groups` of them.
  void (*rms)(const float* in, float* out, int64_t groups, int64_t pixels, int64_t channels, int64_t stride, float epsilon, const float* scale,
              const float* bias, Activation activation);
  // to *= by, `count` floats, a multiple of kPanel.
  void (*times)(float* to, const float* by, int64_t count);
  // e to the power of each row's first `width` floats less the largest of them, and the sum of these powers; `stride` is a multiple of
  // kPanel, and what lies beyond `width` is lost.
  void (*powers)(float* rows, int64_t count, int64_t width, int64_t stride, float* sums);
  // sum and largest of each channel over `area` pixels.
  void (*pool)(const float* in, int64_t area, int64_t stride, float* sum, float* largest);
};

// The fastest that this processor runs.
const Kernels& bestKernels();

extern const Kernels kGenericKernels;
#if defined(__x86_64__)
extern const Kernels kAvx2Kernels;
#endif

}  // namespace katago_agent
