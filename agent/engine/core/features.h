// KataGo's V7 network inputs of a position: 22 spatial planes and 19 global numbers. Start at `encodeV7`.
// The plane and number of each feature stand beside its code in features.cpp.
#pragma once

#include "game.h"

namespace katago_agent {

constexpr int SPATIAL_FEATURES = 22;
constexpr int GLOBAL_FEATURES = 19;
constexpr int HISTORY_MOVES = 5;

struct EncodeOptions {
  // At the root of a search: a pass of the opponent is not taken as an offer to end the game.
  bool conservativePassAndIsRoot = false;
  // Hides from the network that a pass ends the game where that would not win. KataGo's search: true; kata-raw-nn: false.
  bool enablePassingHacks = false;
  // Log2 of how many times more playouts the side to move has than its opponent; 0 is even. -3..3.
  double playoutDoublingAdvantage = 0.0;
  // 0..1: what a draw is worth to White.
  double drawEquivalentWinsForWhite = 0.5;
  // How many past moves the network sees, at most HISTORY_MOVES; 0 ignores history.
  int maxHistory = HISTORY_MOVES;
  // Hashes only: the optimism that postProcess will be given.
  double policyOptimism = 0.0;
};

// Symmetries 0..7 as in KataGo: bit 0 mirrors y, bit 1 mirrors x, bit 2 transposes last. A position of x by y becomes y by x under
// 4..7, so non-square boards have only 0..3 in one graph size.
// Point of the board -> point of the encoded board.
Point symmetryPoint(Point p, int xSize, int ySize, int symmetry);

// spatial: [22][rows][columns], each plane row-major; rows x columns is y_size x x_size for symmetries 0..3, x_size x y_size for 4..7.
// global: [19], the same for all symmetries. Both are overwritten.
void encodeV7(const Game& game, Color toPlay, const EncodeOptions& options, int symmetry, float* spatial, float* global);

// The key of the evaluation cache: all that the network's answer depends on but the last moves and the symmetry.
Hash128 evaluationHash(const Game& game, Color toPlay, const EncodeOptions& options);

}  // namespace katago_agent
