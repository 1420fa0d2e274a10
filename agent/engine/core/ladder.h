// Ladders: chains that cannot escape a row of ataris. Start at `LadderReader::read`.
//
// The rules of the reading are KataGo's (Board::searchIsLadderCaptured), for networks were trained on its answers: the defender may take
// surrounding stones, a ko that the attacker leaves open counts as escape, suicide is never tried.
#pragma once

#include <deque>
#include <vector>

#include "board.h"

namespace katago_agent {

struct Ladder {
  Point stone;  // first stone of the chain, row-major
  bool captured;
  // Chain with two liberties: the attacker's moves that work. Empty for a chain in atari.
  std::vector<Point> workingMoves;
};

// Keeps its stack of boards from call to call; one per thread.
class LadderReader {
 public:
  // Every chain with one or two liberties. In atari its owner moves first, with two liberties the attacker does.
  std::vector<Ladder> read(const Board& board);

 private:
  bool isCaptured(const Board& board, Point stone);
  bool search(int depth, Point stone, bool defenderMoves);
  std::vector<Point> movesOf(const Board& board, Point stone, bool defenderMoves) const;

  std::deque<Board> boards_;
  int nodes_ = 0;
  bool gaveUp_ = false;
};

}  // namespace katago_agent
