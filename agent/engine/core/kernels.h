// The arithmetic of a network, for each instruction set that this core was compiled for. network.cpp is written against this table and
// knows no instruction; kernels_impl.h is compiled once for each row of it.
//
// A "map" is [n, y, x, channels], a "column" [n, channels], both float32; channels are padded to a multiple of kPanel with zeros.
#pragma once

#include <cstdint>

namespace katago_agent {

// Output channels that a matrix product computes side by side; weights are packed in panels of so many.
constexpr int64_t kPanel = 16;
// Winograd's F(4x4, 3x3): tiles of 4x4 outputs from 6x6 inputs, so 36 products.
constexpr int64_t kTile = 4;
constexpr int64_t kProducts = 36;

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

struct Kernels {
  const char* name;
  // c [rows, cStride] = a [rows, aStride] (its first `depth` columns) x b, packed as [panels, depth, kPanel].
  void (*multiply)(const float* a, int64_t aStride, const float* b, int64_t depth, int64_t panels, float* c, int64_t cStride, int64_t rows);
  // out [pixels, stride] = epilogue of sums [pixels, stride]; `firstPixel` counts from the start of the batch, `area` pixels to a position.
  void (*finish)(const float* sums, float* out, int64_t pixels, int64_t firstPixel, int64_t area, int64_t stride, const Epilogue& epilogue);
  // v [kProducts, tiles, channels] from the tiles `first` to `first + count` of `map`, whose channels are `channels` (padded).
  void (*winogradIn)(const float* map, int64_t ySize, int64_t xSize, int64_t channels, int64_t first, int64_t count, float* v);
  // The same tiles of `out` from m [kProducts, count, channels].
  void (*winogradOut)(const float* m, int64_t ySize, int64_t xSize, int64_t channels, int64_t first, int64_t count, float* out,
                      const Epilogue& epilogue);
  // out = act(in * scale + bias), [pixels, stride].
  void (*affine)(const float* in, float* out, int64_t pixels, int64_t stride, const float* scale, const float* bias, Activation activation);
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
