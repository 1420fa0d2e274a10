// Memory for weights and maps: begins at a cache line, or at a large page where it fills one.
#pragma once

#include <cstddef>
#include <memory>

namespace katago_agent {

class AlignedFloats {
 public:
  AlignedFloats() = default;
  // That many zeros. Throws std::bad_alloc.
  explicit AlignedFloats(size_t count);

  size_t size() const { return size_; }
  float* data() { return memory_.get(); }
  const float* data() const { return memory_.get(); }

 private:
  struct Free {
    void operator()(float* memory) const;
  };

  std::unique_ptr<float, Free> memory_;
  size_t size_ = 0;
};

}  // namespace katago_agent
