// How boards are cut into tiles for Winograd's method: kTile points a side, and what is left at the lower and right edge as shorter ones,
// which need fewer of the products.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels.h"

namespace katago_agent {

// Tiles of a number of equal boards. Those that need a product are neighbours in the list, for every product.
class Tiling {
 public:
  Tiling(int64_t positions, int64_t ySize, int64_t xSize);

  const std::vector<Tile>& tiles() const { return tiles_; }

  struct Range {
    int64_t first, count;
  };
  // The tiles that need this one of the kProducts products.
  Range needing(int64_t product) const;

 private:
  void add(int64_t positions, Range down, int64_t height, Range across, int64_t width);

  std::vector<Tile> tiles_;
  int64_t yRest_, xRest_;
  // Where, one after the other, begin the tiles that are full across only, full both ways, full down only, and neither.
  int64_t full_ = 0, fullDown_ = 0, rest_ = 0;
};

int64_t tilesOfBoard(int64_t ySize, int64_t xSize);

}  // namespace katago_agent
