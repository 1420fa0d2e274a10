#include "winograd_tiles.h"

#include <cstddef>

namespace katago_agent {

namespace {

// A shorter tile does without the points beyond its length, but never without the last one, infinity.
bool lacks(int64_t length, int64_t point) { return point > length && point < kSpan - 1; }

}  // namespace

int64_t tilesOfBoard(int64_t ySize, int64_t xSize) { return ((ySize + kTile - 1) / kTile) * ((xSize + kTile - 1) / kTile); }

Tiling::Tiling(int64_t positions, int64_t ySize, int64_t xSize) : yRest_(ySize % kTile), xRest_(xSize % kTile) {
  tiles_.reserve(static_cast<size_t>(positions * tilesOfBoard(ySize, xSize)));
  const Range down{0, ySize / kTile}, across{0, xSize / kTile};
  const Range below{down.count, yRest_ > 0}, beside{across.count, xRest_ > 0};
  const auto size = [this] { return static_cast<int64_t>(tiles_.size()); };
  add(positions, below, yRest_, across, kTile);
  full_ = size();
  add(positions, down, kTile, across, kTile);
  fullDown_ = size();
  add(positions, down, kTile, beside, xRest_);
  rest_ = size();
  add(positions, below, yRest_, beside, xRest_);
}

void Tiling::add(int64_t positions, Range down, int64_t height, Range across, int64_t width) {
  for (int64_t position = 0; position < positions; ++position) {
    for (int64_t y = down.first; y < down.first + down.count; ++y) {
      for (int64_t x = across.first; x < across.first + across.count; ++x) {
        tiles_.push_back({position, y * kTile, x * kTile, height, width});
      }
    }
  }
}

Tiling::Range Tiling::needing(int64_t product) const {
  const bool fullDownOnly = yRest_ > 0 && lacks(yRest_, product / kSpan);
  const bool fullAcrossOnly = xRest_ > 0 && lacks(xRest_, product % kSpan);
  const int64_t first = fullDownOnly ? full_ : 0;
  const int64_t end = fullAcrossOnly ? fullDown_ : fullDownOnly ? rest_ : static_cast<int64_t>(tiles_.size());
  return {first, end - first};
}

}  // namespace katago_agent
