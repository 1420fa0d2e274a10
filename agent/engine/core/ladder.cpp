#include "ladder.h"

#include <algorithm>

namespace katago_agent {

namespace {

// KataGo's limits: a search of more moves counts as no ladder, a longer line as captured.
constexpr int MAX_NODES = 25000;
int maxDepth(const Board& board) { return board.area() * 3 / 2; }

int emptyNeighbours(const Board& board, Point p) {
  int count = 0;
  for (Point n : board.adjacent(p)) count += board.at(n) == EMPTY;
  return count;
}

void addOnce(std::vector<Point>& points, Point p) {
  if (std::find(points.begin(), points.end(), p) == points.end()) points.push_back(p);
}

void addLiberties(const Board& board, Point stone, std::vector<Point>& points) {
  Point s = stone;
  do {
    for (Point n : board.adjacent(s))
      if (board.at(n) == EMPTY) addOnce(points, n);
    s = board.nextInChain(s);
  } while (s != stone);
}

// Moves that take chains in atari next to the chain of `stone`.
void addCaptures(const Board& board, Point stone, std::vector<Point>& points) {
  const Color enemy = opponent(board.at(stone));
  Point s = stone;
  do {
    for (Point n : board.adjacent(s))
      if (board.at(n) == enemy && board.liberties(n) == 1) addLiberties(board, n, points);
    s = board.nextInChain(s);
  } while (s != stone);
}

// Quick bounds on the liberties that a stone of c at p would have.
struct LibertyBounds {
  int lower;
  int upper;
};

LibertyBounds libertiesAfter(const Board& board, Point p, Color c) {
  int empty = 0, captures = 0, capturedStones = 0, joined = 0, largestJoined = 0;
  for (Point n : board.adjacent(p)) {
    if (board.at(n) == EMPTY) {
      empty++;
    } else if (board.at(n) == c) {
      joined += board.liberties(n) - 1;
      largestJoined = std::max(largestJoined, board.liberties(n) - 1);
    } else if (board.liberties(n) == 1) {
      captures++;
      capturedStones += board.chainSize(n);
    }
  }
  return {captures + std::max(largestJoined, empty), empty + capturedStones + joined};
}

bool gainsLiberties(const Board& board, Point p, Color c) {
  Board after = board;
  after.play(p, c);
  return after.at(p) == c && after.liberties(p) > 2;
}

// Both liberties are mouths of kos that the attacker may take and connecting either does not help: dead whatever the ko threats.
bool isDoubleKoDeath(const Board& board, Point stone, const std::vector<Point>& liberties) {
  const Color defender = board.at(stone);
  for (Point p : liberties) {
    if (board.koCapture(p, opponent(defender)) == NO_POINT) return false;
    if (gainsLiberties(board, p, defender)) return false;
  }
  std::vector<Point> captures;
  addCaptures(board, stone, captures);
  return captures.empty();
}

// Counts, doubled, what a stone of c at p would reach: free points and the liberties of friends beyond the first one and a half.
int reachTwice(const Board& board, Point p, Color c) {
  int reach = 2 * emptyNeighbours(board, p);
  for (Point n : board.adjacent(p))
    if (board.at(n) == c && board.liberties(n) > 1) reach += 2 * board.liberties(n) - 3;
  return reach;
}

bool areAdjacent(const Board& board, Point a, Point b) {
  const Geometry::Points& near = board.adjacent(a);
  return std::find(near.begin(), near.end(), b) != near.end();
}

}  // namespace

std::vector<Ladder> LadderReader::read(const Board& board) {
  std::vector<Ladder> ladders;
  PointSet readHeads;
  for (Point p = 0; p < board.area(); p++) {
    if (board.at(p) == EMPTY || board.liberties(p) > 2 || readHeads[board.chain(p)]) continue;
    readHeads.set(board.chain(p));
    Ladder ladder{p, false, {}};
    if (board.liberties(p) == 1) {
      ladder.captured = isCaptured(board, p);
    } else {
      const Color attacker = opponent(board.at(p));
      std::vector<Point> liberties;
      addLiberties(board, p, liberties);
      for (Point move : liberties) {
        if (!board.isLegal(move, attacker, false)) continue;
        Board after = board;
        after.play(move, attacker);
        if (isCaptured(after, p)) ladder.workingMoves.push_back(move);
      }
      ladder.captured = !ladder.workingMoves.empty();
    }
    ladders.push_back(std::move(ladder));
  }
  return ladders;
}

// The owner of the chain moves first; it may take any ko.
bool LadderReader::isCaptured(const Board& board, Point stone) {
  if (board.liberties(stone) > 1) return false;
  nodes_ = 0;
  gaveUp_ = false;
  if (boards_.empty())
    boards_.push_back(board);
  else
    boards_[0] = board;
  boards_[0].clearKo();
  return search(0, stone, true) && !gaveUp_;
}

bool LadderReader::search(int depth, Point stone, bool defenderMoves) {
  const Board& board = boards_[depth];
  if (depth >= maxDepth(board)) return true;
  if (nodes_ >= MAX_NODES) {
    gaveUp_ = true;
    return false;
  }
  const Color defender = board.at(stone);
  const int liberties = board.liberties(stone);
  if (defenderMoves) {
    if (liberties >= 2) return false;
    if (board.koPoint() != NO_POINT) return false;
  } else {
    if (liberties <= 1) return true;
    if (liberties >= 3) return false;
  }

  const std::vector<Point> moves = movesOf(board, stone, defenderMoves);
  if (defenderMoves) {
    const LibertyBounds bounds = libertiesAfter(board, moves.back(), defender);
    if (bounds.lower >= 3) return false;
    if (moves.size() == 1 && bounds.upper <= 1) return true;
  } else if (moves.size() == 2 && isDoubleKoDeath(board, stone, moves)) {
    return true;
  }

  const Color mover = defenderMoves ? defender : opponent(defender);
  for (Point move : moves) {
    if (!board.isLegal(move, mover, false)) continue;
    if (static_cast<int>(boards_.size()) == depth + 1)
      boards_.push_back(board);
    else
      boards_[depth + 1] = board;
    boards_[depth + 1].play(move, mover);
    nodes_++;
    const bool captured = search(depth + 1, stone, !defenderMoves);
    if (gaveUp_) return false;
    if (captured != defenderMoves) return captured;  // the mover found what it wants
  }
  return defenderMoves;
}

std::vector<Point> LadderReader::movesOf(const Board& board, Point stone, bool defenderMoves) const {
  std::vector<Point> moves;
  if (defenderMoves) {
    addCaptures(board, stone, moves);
    addLiberties(board, stone, moves);
    return moves;
  }
  addLiberties(board, stone, moves);
  const Color defender = board.at(stone);
  const int room0 = emptyNeighbours(board, moves[0]);
  const int room1 = emptyNeighbours(board, moves[1]);
  if (!areAdjacent(board, moves[0], moves[1])) {
    // A liberty left to the defender with three more behind it lets it out: only that one may be played.
    if (room0 >= 3 && room1 >= 3) return {};
    if (room0 >= 3) return {moves[0]};
    if (room1 >= 3) return {moves[1]};
  }
  if (reachTwice(board, moves[1], defender) > reachTwice(board, moves[0], defender)) std::swap(moves[0], moves[1]);
  return moves;
}

}  // namespace katago_agent
