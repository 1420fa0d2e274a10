// Which positions of a search are one node. Start at `graphKey`.
//
// Two orders of the same moves lead to one position; what was found below it serves both. But where the board may soon repeat, what
// may be played below depends on how it came about (superko, and the third repetition that ends a game), and a graph could lead back
// into itself. Played stones cannot vanish at once: to come back to a board without the last move, its chain must be captured, for
// which all its liberties and at least the empty points next to it have to be filled. So a move whose chain and the empty regions at
// it are large together cannot be part of a short circle, and forgets what was before; any other move remembers.
#pragma once

#include "game.h"

namespace katago_agent {

// The key of the position in `game`, of which `previous` is the key one move before. Positions may be shared where no circle of up
// to `repetitionBound` moves can lead through the last move.
Hash128 graphKey(const Hash128& previous, const Game& game, double drawEquivalentWinsForWhite, int repetitionBound);

// Whether the stone last played at `p`, or the region it left empty by suicide, and the empty regions at its chain hold more than
// `bound` points.
bool isRepetitionFar(const Board& board, Point p, int bound);

}  // namespace katago_agent
