// A network as a list of steps over buffers, run by the kernels of this processor: the core's own runtime. It knows layers, not blocks:
// agent/engine/backends/core.py puts a KataGo network together from these steps.
#pragma once

#include <cstdint>
#include <mutex>
#include <vector>

#include "aligned_floats.h"
#include "kernels.h"

namespace katago_agent {

// Weights in the order in which the kernels read them.
struct PackedWeights {
  int64_t depth = 0;   // rows of the matrix
  int64_t panels = 0;  // groups of kPanel columns
  AlignedFloats values;
};

struct Shape {
  int64_t positions, ySize, xSize;
  int64_t area() const { return ySize * xSize; }
};

// Of a board; Go's largest has 19, and what turns with the place is tabled up to here.
constexpr int64_t kLongestSide = 64;

enum class PoolKind : int32_t { kPolicy = 0, kValue = 1 };  // mean, scaled mean, largest; or mean and two scaled means

// What a network gives; as in agent/engine/backends/interface.py.
struct NetworkOutputs {
  float* policy;     // [n, policy channels, area + 1]
  float* value;      // [n, 3]
  float* score;      // [n, score channels]
  float* ownership;  // [n, area]
};

class Network {
 public:
  struct Convolution {
    int64_t inChannels, outChannels, ySize, xSize, yDilation, xDilation;
    const float* weights;  // [out, in, y, x]
  };
  // Of a convolution or matrix product; pointers as in Epilogue, but to channels that are not padded; -1 for no buffer.
  struct Finish {
    const float* bias = nullptr;
    int32_t column = -1;
    Activation activation = Activation::kIdentity;
    bool accumulate = false;
    int32_t next = -1;
    const float* nextScale = nullptr;
    const float* nextBias = nullptr;
    Activation nextActivation = Activation::kIdentity;
  };

  // Every point's queries, keys and values are channels of a map, head after head; a head of keys and values serves as many of the queries'
  // in a row. `frequencies` [key heads, query channels / 2, x and y]: by how much a pair of channels turns from one point to the next.
  struct Attention {
    int32_t query, key, value;
    int64_t heads, keyHeads, queryChannels, valueChannels;  // channels of one head
    const float* frequencies;                               // null where place does not matter
  };

  explicit Network(const Kernels& kernels) : kernels_(kernels) {}

  // Buffer 0 is the spatial input, buffer 1 the global one; both are made with the network's first two calls.
  int32_t addBuffer(int64_t channels, bool isMap);
  void addConvolution(int32_t from, int32_t to, const Convolution& convolution, const Finish& finish);
  void addProduct(int32_t from, int32_t to, int64_t inChannels, int64_t outChannels, const float* weights, const Finish& finish);
  void addAffine(int32_t from, int32_t to, const float* scale, const float* bias, Activation activation);
  // The mean of squares is each point's, or, where it is `spatial`, the whole board's.
  void addRms(int32_t from, int32_t to, float epsilon, bool spatial, const float* scale, const float* bias, Activation activation);
  void addTimes(int32_t to, int32_t by);
  void addAttention(int32_t to, const Attention& attention);
  void addPool(int32_t from, int32_t to, PoolKind kind);
  void setOutputs(int32_t policy, int32_t pass, int32_t value, int32_t score, int32_t ownership);

  // spatial [n, channels, y, x] and global [n, channels]. Any number of threads at once. Throws std::bad_alloc.
  void run(const Shape& shape, const float* spatial, const float* global, const NetworkOutputs& outputs) const;

  size_t buffers() const { return buffers_.size(); }
  int64_t channels(int32_t buffer) const { return buffers_[static_cast<size_t>(buffer)].channels; }

 private:
  struct Buffer {
    int64_t channels;
    int64_t stride;  // channels, padded
    bool isMap;
  };
  enum class Kind { kProduct, kWinograd, kPatches, kAffine, kRms, kTimes, kAttention, kPool };
  struct Step {
    Kind kind;
    int32_t from, to;
    PackedWeights weights;
    std::vector<float> bias, nextScale, nextBias;  // padded
    Finish finish;
    Convolution window{};
    PoolKind pool{};
    float epsilon = 0.0f;
    bool spatial = false;
    Attention attention{};
    std::vector<float> turns;  // see network_attention.cpp
  };
  struct Run {
    Shape shape;
    std::vector<float*> buffers;
    float* scratch;

    float* at(int32_t buffer) const { return buffers[static_cast<size_t>(buffer)]; }
  };

  // A step that multiplies each channel by a scale and adds a bias.
  static Step scaling(Kind kind, int32_t from, int32_t to, const float* scale, const float* bias, Activation activation);
  void add(Step step);
  int64_t stride(int32_t buffer) const { return buffers_[static_cast<size_t>(buffer)].stride; }
  std::vector<float> padded(const float* values, int32_t buffer) const;
  void execute(const Step& step, Run& run) const;
  void product(const Step& step, Run& run) const;
  void winograd(const Step& step, Run& run) const;
  void patches(const Step& step, Run& run) const;
  void rms(const Step& step, Run& run) const;
  void attend(const Step& step, Run& run) const;
  int64_t attentionScratch(const Step& step, int64_t area) const;
  void pool(const Step& step, Run& run) const;
  void enter(Run& run, const float* spatial, const float* global) const;
  void leave(const Run& run, const NetworkOutputs& outputs) const;
  AlignedFloats takeArena(size_t count) const;
  size_t scratchSize(const Shape& shape) const;

  const Kernels& kernels_;
  std::vector<Buffer> buffers_;
  std::vector<Step> steps_;
  int32_t policy_ = -1, pass_ = -1, value_ = -1, score_ = -1, ownership_ = -1;
  mutable std::mutex mutex_;
  // Memory of calls that are over: every buffer of the network for one batch, and what the steps need in between.
  mutable std::vector<AlignedFloats> arenas_;
};

}  // namespace katago_agent
