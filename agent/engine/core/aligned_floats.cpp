#include "aligned_floats.h"

#include <algorithm>
#include <cstdlib>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace katago_agent {

namespace {

constexpr size_t kLineBytes = 64;
// On x86-64 and arm64, with pages of 4 KB.
constexpr size_t kLargePageBytes = size_t{2} << 20;

}  // namespace

AlignedFloats::AlignedFloats(size_t count) : size_(count) {
  const size_t alignment = count * sizeof(float) >= kLargePageBytes ? kLargePageBytes : kLineBytes;
  const size_t bytes = (count * sizeof(float) + alignment - 1) / alignment * alignment;
  memory_.reset(static_cast<float*>(std::aligned_alloc(alignment, std::max(bytes, alignment))));
  if (!memory_) throw std::bad_alloc();
#if defined(MADV_HUGEPAGE)
  // A batch walks through more memory than small pages have entries for in the processor's table. A system that has no large pages to
  // spare refuses, which costs time only.
  if (alignment == kLargePageBytes) madvise(memory_.get(), bytes, MADV_HUGEPAGE);
#endif
  std::fill(memory_.get(), memory_.get() + count, 0.0f);
}

void AlignedFloats::Free::operator()(float* memory) const { std::free(memory); }

}  // namespace katago_agent
