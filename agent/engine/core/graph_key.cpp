#include "graph_key.h"

#include <bitset>
#include <vector>

#include "zobrist.h"

namespace katago_agent {

bool isRepetitionFar(const Board& board, Point p, int bound) {
  if (p == board.pass()) return false;
  int points = 0;
  std::bitset<MAX_AREA> counted;
  std::vector<Point> pending;
  auto count = [&](Point q) {
    if (board.at(q) != EMPTY || counted[q]) return;
    counted.set(q);
    points++;
    pending.push_back(q);
  };
  if (board.at(p) == EMPTY) {
    count(p);
  } else {
    points = board.chainSize(p);
    if (points + board.liberties(p) > bound) return true;
    Point stone = p;
    do {
      for (Point neighbor : board.adjacent(stone)) count(neighbor);
      stone = board.nextInChain(stone);
    } while (stone != p);
  }
  while (!pending.empty() && points <= bound) {
    const Point q = pending.back();
    pending.pop_back();
    for (Point neighbor : board.adjacent(q)) count(neighbor);
  }
  return points > bound;
}

Hash128 graphKey(const Hash128& previous, const Game& game, double drawEquivalentWinsForWhite, int repetitionBound) {
  const Hash128 now = joinNumber(game.evaluationHash(game.toPlay(), drawEquivalentWinsForWhite),
                                 static_cast<uint64_t>(game.endingPasses()));
  if (game.moves().empty() || isRepetitionFar(game.board(), game.moves().back().point, repetitionBound)) return now;
  return joinNumber(joinNumber(now, previous.low), previous.high);
}

}  // namespace katago_agent
