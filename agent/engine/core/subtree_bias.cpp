#include "subtree_bias.h"

#include "node.h"
#include "random.h"

namespace katago_agent {

namespace {

constexpr int PATTERN_RADIUS = 2;  // 5x5 around the move

// The move, the one before it, whose turn it is, the ko, and the 5x5 neighbourhood with its edges and its stones in atari.
uint64_t shapeKey(const Game& game, Point move, Point previous) {
  const Board& board = game.board();
  const int xSize = board.xSize();
  const int x = move % xSize;
  const int y = move / xSize;
  uint64_t key = scramble(static_cast<uint64_t>(move) * 1024 + static_cast<uint64_t>(previous));
  key = scramble(key ^ (static_cast<uint64_t>(board.koPoint() + 1) * 4 + game.toPlay()));
  for (int dy = -PATTERN_RADIUS; dy <= PATTERN_RADIUS; dy++)
    for (int dx = -PATTERN_RADIUS; dx <= PATTERN_RADIUS; dx++) {
      uint64_t content = 7;  // off the board
      if (x + dx >= 0 && x + dx < xSize && y + dy >= 0 && y + dy < board.ySize()) {
        Point p = static_cast<Point>((y + dy) * xSize + x + dx);
        content = board.at(p);
        if (board.at(p) != EMPTY && board.liberties(p) == 1) content += 2;
      }
      key = scramble(key ^ content);
    }
  return key;
}

}  // namespace

std::shared_ptr<BiasEntry> BiasTable::entryFor(const Game& game, Point move) {
  if (move == game.pass() || game.moves().empty()) return nullptr;
  std::shared_ptr<BiasEntry>& entry = entries_[shapeKey(game, move, game.moves().back().point)];
  if (!entry) entry = std::make_shared<BiasEntry>();
  return entry;
}

void BiasTable::dropUnused() {
  for (auto entry = entries_.begin(); entry != entries_.end();)
    entry = entry->second.use_count() == 1 ? entries_.erase(entry) : std::next(entry);
}

void withdrawBias(Node& node, double freeProp) {
  if (!node.bias) return;
  node.bias->deltaSum -= node.biasDelta * freeProp;
  node.bias->weightSum -= node.biasWeight * freeProp;
  node.bias = nullptr;
}

}  // namespace katago_agent
