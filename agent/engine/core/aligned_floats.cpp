#include "aligned_floats.h"

#include <stdlib.h>  // posix_memalign, which takes sizes that are no multiple of the alignment

#include <algorithm>
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
  const size_t bytes = count * sizeof(float), alignment = bytes >= kLargePageBytes ? kLargePageBytes : kLineBytes;
  void* memory = nullptr;
  if (posix_memalign(&memory, alignment, std::max(bytes, kLineBytes)) != 0) throw std::bad_alloc();
  memory_.reset(static_cast<float*>(memory));
#if defined(MADV_HUGEPAGE)
  // A batch walks through more memory than small pages have entries for in the processor's table. A system that has no large pages to
  // spare refuses, which costs time only.
  if (alignment == kLargePageBytes) madvise(memory, bytes, MADV_HUGEPAGE);
#endif
  std::fill(memory_.get(), memory_.get() + count, 0.0f);
}

void AlignedFloats::Free::operator()(float* memory) const { free(memory); }

}  // namespace katago_agent
