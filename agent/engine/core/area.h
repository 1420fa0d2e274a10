// Who owns which points: Benson's pass-alive chains and regions, territory around them, independent life.
// Start at `areaOf`. Meanings are those of KataGo's Board::calculateArea and calculateIndependentLifeArea.
#pragma once

#include "board.h"

namespace katago_agent {

struct AreaOptions {
  bool keepOtherStones;       // stones that are not pass-alive count for their colour
  bool safeBigTerritories;    // empty regions of any size that only pass-alive chains of one colour border
  bool unsafeBigTerritories;  // empty regions that only one colour borders, pass-alive or not
  bool multiStoneSuicide;     // whether suicide is legal, which makes some regions less vital
};

// Pass-alive chains, and regions inside them where the opponent cannot live, always; more by the options.
ColorMap areaOf(const Board& board, const AreaOptions& options);

// Area of groups that are independently alive: not in seki (touching dame, or with a stone in atari). `keepTerritories` adds other
// territory (eyes in seki), `keepStones` other stones. `whiteMinusBlackRegions` gets the number of separate living groups, white minus black.
ColorMap independentLifeArea(const Board& board, bool keepTerritories, bool keepStones, bool multiStoneSuicide,
                             int& whiteMinusBlackRegions);

}  // namespace katago_agent
