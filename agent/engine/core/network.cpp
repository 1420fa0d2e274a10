#include "network.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "network_weights.h"
#include "winograd_tiles.h"

namespace katago_agent {

namespace {

constexpr size_t kLine = 16;  // floats in a cache line

// Tiles of Winograd's method at once. All weights of a layer (7 MB with 192 channels) pass by once for so many tiles, and inputs and products
// of so many take 49 x 192 x 4 x 2 bytes each, 10 MB: measured on a Zen 3 with 32 MB of third-level cache.
constexpr int64_t kTilesAtOnce = 128;
// Rows of a plain product before their sums are finished, while those are still in the nearest cache.
constexpr int64_t kRowsAtOnce = 96;
// KataGo's model code: pooling is scaled by how far the board's side is from 14, the middle of the sizes trained on.
constexpr float kMiddleSide = 14.0f;

// Boards whose tiles go through Winograd's method together; always whole ones.
int64_t positionsAtOnce(const Shape& shape) {
  const int64_t most = std::max<int64_t>(1, kTilesAtOnce / tilesOfBoard(shape.ySize, shape.xSize));
  const int64_t passes = (shape.positions + most - 1) / most;
  return (shape.positions + passes - 1) / passes;
}

// Floats from the plane of one product to the next. The line in between keeps planes from lying at the same place of every page, where a
// tile's values for all products would displace each other from the cache.
int64_t planeOf(int64_t tiles, int64_t stride) { return tiles * stride + static_cast<int64_t>(kLine); }

size_t aligned(int64_t count) { return (static_cast<size_t>(count) + kLine - 1) / kLine * kLine; }

}  // namespace

// ---------------------------------------------------------------- putting together

int32_t Network::addBuffer(int64_t channels, bool isMap) {
  buffers_.push_back({channels, (channels + kPanel - 1) / kPanel * kPanel, isMap});
  return static_cast<int32_t>(buffers_.size()) - 1;
}

std::vector<float> Network::padded(const float* values, int32_t buffer) const {
  if (!values) return {};
  const Buffer& of = buffers_[static_cast<size_t>(buffer)];
  std::vector<float> all(values, values + of.channels);
  all.resize(static_cast<size_t>(of.stride));
  return all;
}

void Network::add(Step step) {
  step.bias = padded(step.finish.bias, step.to);
  step.nextScale = padded(step.finish.nextScale, step.to);
  step.nextBias = padded(step.finish.nextBias, step.to);
  steps_.push_back(std::move(step));
}

void Network::addConvolution(int32_t from, int32_t to, const Convolution& convolution, const Finish& finish) {
  Step step{};
  step.from = from;
  step.to = to;
  step.finish = finish;
  step.window = convolution;
  const bool dilated = convolution.yDilation != 1 || convolution.xDilation != 1;
  if (convolution.ySize == 1 && convolution.xSize == 1) {
    step.kind = Kind::kProduct;
    step.weights = packPatches(convolution.weights, convolution.outChannels, convolution.inChannels, 1);
  } else if (convolution.ySize == 3 && convolution.xSize == 3 && !dilated) {
    step.kind = Kind::kWinograd;
    step.weights = packWinograd(convolution.weights, convolution.outChannels, convolution.inChannels);
  } else {
    step.kind = Kind::kPatches;
    const int64_t window = convolution.ySize * convolution.xSize;
    step.weights = packPatches(convolution.weights, convolution.outChannels, convolution.inChannels, window);
  }
  step.window.weights = nullptr;
  add(std::move(step));
}

void Network::addProduct(int32_t from, int32_t to, int64_t inChannels, int64_t outChannels, const float* weights, const Finish& finish) {
  Step step{};
  step.kind = Kind::kProduct;
  step.from = from;
  step.to = to;
  step.finish = finish;
  step.weights = packMatrix(weights, inChannels, outChannels);
  add(std::move(step));
}

void Network::addAffine(int32_t from, int32_t to, const float* scale, const float* bias, Activation activation) {
  add(scaling(Kind::kAffine, from, to, scale, bias, activation));
}

void Network::addRms(int32_t from, int32_t to, float epsilon, bool spatial, const float* scale, const float* bias, Activation activation) {
  Step step = scaling(Kind::kRms, from, to, scale, bias, activation);
  step.epsilon = epsilon;
  step.spatial = spatial;
  add(std::move(step));
}

Network::Step Network::scaling(Kind kind, int32_t from, int32_t to, const float* scale, const float* bias, Activation activation) {
  Step step{};
  step.kind = kind;
  step.from = from;
  step.to = to;
  step.finish.nextScale = scale;
  step.finish.nextBias = bias;
  step.finish.nextActivation = activation;
  return step;
}

void Network::addTimes(int32_t to, int32_t by) {
  Step step{};
  step.kind = Kind::kTimes;
  step.from = by;
  step.to = to;
  add(std::move(step));
}

void Network::addPool(int32_t from, int32_t to, PoolKind kind) {
  Step step{};
  step.kind = Kind::kPool;
  step.from = from;
  step.to = to;
  step.pool = kind;
  add(std::move(step));
}

void Network::setOutputs(int32_t policy, int32_t pass, int32_t value, int32_t score, int32_t ownership) {
  policy_ = policy;
  pass_ = pass;
  value_ = value;
  score_ = score;
  ownership_ = ownership;
}

// ---------------------------------------------------------------- running

AlignedFloats Network::takeArena(size_t count) const {
  AlignedFloats arena;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!arenas_.empty()) {
      arena = std::move(arenas_.back());
      arenas_.pop_back();
    }
  }
  if (arena.size() >= count) return arena;
  arena = AlignedFloats();  // given back before more is taken
  return AlignedFloats(count);
}

size_t Network::scratchSize(const Shape& shape) const {
  size_t most = 0;
  for (const Step& step : steps_) {
    const int64_t in = stride(step.from), out = stride(step.to);
    if (step.kind == Kind::kWinograd) {
      const int64_t tiles = positionsAtOnce(shape) * tilesOfBoard(shape.ySize, shape.xSize);
      most = std::max(most, aligned(kProducts * planeOf(tiles, in)) + aligned(kProducts * planeOf(tiles, out)));
    } else if (step.kind == Kind::kAttention) {
      most = std::max(most, aligned(attentionScratch(step, shape.area())));
    } else if (step.kind == Kind::kPatches) {
      most = std::max(most, aligned(kRowsAtOnce * step.weights.depth) + aligned(kRowsAtOnce * out));
    } else {
      most = std::max(most, aligned(kRowsAtOnce * std::max(in, out)) * 2);
    }
  }
  return most;
}

void Network::run(const Shape& shape, const float* spatial, const float* global, const NetworkOutputs& outputs) const {
  size_t size = scratchSize(shape);
  for (const Buffer& buffer : buffers_) size += aligned(shape.positions * buffer.stride * (buffer.isMap ? shape.area() : 1));
  AlignedFloats arena = takeArena(size);
  float* free = arena.data();
  Run run{shape, {}, nullptr};
  for (const Buffer& buffer : buffers_) {
    run.buffers.push_back(free);
    free += aligned(shape.positions * buffer.stride * (buffer.isMap ? shape.area() : 1));
  }
  run.scratch = free;
  enter(run, spatial, global);
  for (const Step& step : steps_) execute(step, run);
  leave(run, outputs);
  const std::lock_guard<std::mutex> lock(mutex_);
  arenas_.push_back(std::move(arena));
}

void Network::enter(Run& run, const float* spatial, const float* global) const {
  const int64_t area = run.shape.area(), channels = buffers_[0].channels, padded = buffers_[0].stride;
  float* map = run.at(0);
  std::fill(map, map + run.shape.positions * area * padded, 0.0f);
  for (int64_t position = 0; position < run.shape.positions; ++position) {
    for (int64_t channel = 0; channel < channels; ++channel) {
      const float* plane = spatial + (position * channels + channel) * area;
      float* to = map + position * area * padded + channel;
      for (int64_t point = 0; point < area; ++point) to[point * padded] = plane[point];
    }
  }
  const int64_t globals = buffers_[1].channels;
  for (int64_t position = 0; position < run.shape.positions; ++position) {
    float* to = run.at(1) + position * buffers_[1].stride;
    std::copy(global + position * globals, global + (position + 1) * globals, to);
    std::fill(to + globals, to + buffers_[1].stride, 0.0f);
  }
}

void Network::execute(const Step& step, Run& run) const {
  switch (step.kind) {
    case Kind::kProduct: return product(step, run);
    case Kind::kWinograd: return winograd(step, run);
    case Kind::kPatches: return patches(step, run);
    case Kind::kPool: return pool(step, run);
    case Kind::kAttention: return attend(step, run);
    case Kind::kRms: return rms(step, run);
    case Kind::kTimes:
      return kernels_.times(run.at(step.to), run.at(step.from), run.shape.positions * run.shape.area() * stride(step.to));
    case Kind::kAffine:
      kernels_.affine(run.at(step.from), run.at(step.to), run.shape.positions * run.shape.area(), stride(step.to), step.nextScale.data(),
                      step.nextBias.data(), step.finish.nextActivation);
  }
}

namespace {

template <typename StepType, typename RunType>
Epilogue epilogueOf(const StepType& step, const RunType& run) {
  Epilogue epilogue;
  epilogue.bias = step.bias.empty() ? nullptr : step.bias.data();
  epilogue.column = step.finish.column < 0 ? nullptr : run.at(step.finish.column);
  epilogue.activation = step.finish.activation;
  epilogue.accumulate = step.finish.accumulate;
  epilogue.next = step.finish.next < 0 ? nullptr : run.at(step.finish.next);
  epilogue.nextScale = step.nextScale.data();
  epilogue.nextBias = step.nextBias.data();
  epilogue.nextActivation = step.finish.nextActivation;
  return epilogue;
}

}  // namespace

void Network::product(const Step& step, Run& run) const {
  const int64_t area = buffers_[static_cast<size_t>(step.to)].isMap ? run.shape.area() : 1;
  const int64_t rows = run.shape.positions * area, in = stride(step.from), out = stride(step.to);
  const Epilogue epilogue = epilogueOf(step, run);
  for (int64_t start = 0; start < rows; start += kRowsAtOnce) {
    const int64_t count = std::min(kRowsAtOnce, rows - start);
    kernels_.multiply(run.at(step.from) + start * in, in, step.weights.values.data(), step.weights.depth, step.weights.panels, run.scratch,
                      out, count);
    kernels_.finish(run.scratch, run.at(step.to), count, start, area, out, epilogue);
  }
}

void Network::winograd(const Step& step, Run& run) const {
  const int64_t in = stride(step.from), out = stride(step.to), ySize = run.shape.ySize, xSize = run.shape.xSize;
  const int64_t matrix = step.weights.depth * step.weights.panels * kPanel, atOnce = positionsAtOnce(run.shape);
  for (int64_t first = 0; first < run.shape.positions; first += atOnce) {
    const Tiling tiling(std::min(atOnce, run.shape.positions - first), ySize, xSize);
    const Tile* tiles = tiling.tiles().data();
    const int64_t count = static_cast<int64_t>(tiling.tiles().size()), plane = planeOf(count, in), sumsPlane = planeOf(count, out);
    float* sums = run.scratch + aligned(kProducts * plane);
    kernels_.winogradIn(run.at(step.from) + first * ySize * xSize * in, ySize, xSize, in, tiles, count, run.scratch, plane);
    for (int64_t product = 0; product < kProducts; ++product) {
      const Tiling::Range range = tiling.needing(product);
      kernels_.multiply(run.scratch + product * plane + range.first * in, in, step.weights.values.data() + product * matrix,
                        step.weights.depth, step.weights.panels, sums + product * sumsPlane + range.first * out, out, range.count);
    }
    Epilogue epilogue = epilogueOf(step, run);
    if (epilogue.column) epilogue.column += first * out;
    if (epilogue.next) epilogue.next += first * ySize * xSize * out;
    kernels_.winogradOut(sums, sumsPlane, ySize, xSize, out, tiles, count, run.at(step.to) + first * ySize * xSize * out, epilogue);
  }
}

// Each row of the left matrix is one pixel's window, [window y, window x, in channels], zeros outside of the board.
void Network::patches(const Step& step, Run& run) const {
  const Convolution& window = step.window;
  const int64_t in = stride(step.from), out = stride(step.to), depth = step.weights.depth;
  const int64_t area = run.shape.area(), rows = run.shape.positions * area;
  const Epilogue epilogue = epilogueOf(step, run);
  float* sums = run.scratch + aligned(kRowsAtOnce * depth);
  for (int64_t start = 0; start < rows; start += kRowsAtOnce) {
    const int64_t count = std::min(kRowsAtOnce, rows - start);
    float* to = run.scratch;
    for (int64_t row = start; row < start + count; ++row) {
      const int64_t point = row % area, first = row - point;
      for (int64_t i = 0; i < window.ySize * window.xSize; ++i, to += window.inChannels) {
        const int64_t y = point / run.shape.xSize + (i / window.xSize - window.ySize / 2) * window.yDilation;
        const int64_t x = point % run.shape.xSize + (i % window.xSize - window.xSize / 2) * window.xDilation;
        if (y < 0 || y >= run.shape.ySize || x < 0 || x >= run.shape.xSize) {
          std::fill(to, to + window.inChannels, 0.0f);
        } else {
          const float* pixel = run.at(step.from) + (first + y * run.shape.xSize + x) * in;
          std::copy(pixel, pixel + window.inChannels, to);
        }
      }
    }
    kernels_.multiply(run.scratch, depth, step.weights.values.data(), depth, step.weights.panels, sums, out, count);
    kernels_.finish(sums, run.at(step.to), count, start, area, out, epilogue);
  }
}

void Network::rms(const Step& step, Run& run) const {
  const int64_t area = run.shape.area(), channels = buffers_[static_cast<size_t>(step.from)].channels;
  const int64_t groups = run.shape.positions * (step.spatial ? 1 : area), pixels = step.spatial ? area : 1;
  kernels_.rms(run.at(step.from), run.at(step.to), groups, pixels, channels, stride(step.from), step.epsilon, step.nextScale.data(),
               step.nextBias.data(), step.finish.nextActivation);
}

void Network::pool(const Step& step, Run& run) const {
  const int64_t area = run.shape.area(), in = stride(step.from), channels = buffers_[static_cast<size_t>(step.from)].channels;
  const float away = (std::sqrt(static_cast<float>(area)) - kMiddleSide) * 0.1f;
  float* sum = run.scratch;
  float* largest = run.scratch + in;
  for (int64_t position = 0; position < run.shape.positions; ++position) {
    kernels_.pool(run.at(step.from) + position * area * in, area, in, sum, largest);
    float* to = run.at(step.to) + position * stride(step.to);
    for (int64_t channel = 0; channel < channels; ++channel) {
      const float mean = sum[channel] / static_cast<float>(area);
      to[channel] = mean;
      to[channels + channel] = mean * away;
      to[2 * channels + channel] = step.pool == PoolKind::kPolicy ? largest[channel] : mean * (away * away - 0.1f);
    }
  }
}

void Network::leave(const Run& run, const NetworkOutputs& outputs) const {
  const int64_t area = run.shape.area();
  const auto column = [&](int32_t buffer, float* to) {
    const Buffer& of = buffers_[static_cast<size_t>(buffer)];
    for (int64_t position = 0; position < run.shape.positions; ++position) {
      const float* from = run.at(buffer) + position * of.stride;
      std::copy(from, from + of.channels, to + position * of.channels);
    }
  };
  column(value_, outputs.value);
  column(score_, outputs.score);
  const Buffer& policy = buffers_[static_cast<size_t>(policy_)];
  for (int64_t position = 0; position < run.shape.positions; ++position) {
    const float* map = run.at(policy_) + position * area * policy.stride;
    for (int64_t channel = 0; channel < policy.channels; ++channel) {
      float* to = outputs.policy + (position * policy.channels + channel) * (area + 1);
      for (int64_t point = 0; point < area; ++point) to[point] = map[point * policy.stride + channel];
      to[area] = run.at(pass_)[position * stride(pass_) + channel];
    }
    const float* owned = run.at(ownership_) + position * area * stride(ownership_);
    for (int64_t point = 0; point < area; ++point) outputs.ownership[position * area + point] = owned[point * stride(ownership_)];
  }
}

}  // namespace katago_agent
