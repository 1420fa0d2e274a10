#include "board.h"

#include <cstring>
#include <memory>
#include <mutex>
#include <stdexcept>

#include "zobrist.h"

namespace katago_agent {

namespace {

Geometry makeGeometry(int xSize, int ySize) {
  Geometry geometry{};
  auto add = [&](Geometry::Points& points, int x, int y) {
    if (x >= 0 && x < xSize && y >= 0 && y < ySize) points.list[points.count++] = static_cast<Point>(y * xSize + x);
  };
  for (int y = 0; y < ySize; y++) {
    for (int x = 0; x < xSize; x++) {
      Geometry::Points& adjacent = geometry.adjacent[y * xSize + x];
      add(adjacent, x, y - 1);
      add(adjacent, x - 1, y);
      add(adjacent, x + 1, y);
      add(adjacent, x, y + 1);
      Geometry::Points& diagonal = geometry.diagonal[y * xSize + x];
      add(diagonal, x - 1, y - 1);
      add(diagonal, x + 1, y - 1);
      add(diagonal, x - 1, y + 1);
      add(diagonal, x + 1, y + 1);
    }
  }
  return geometry;
}

// Up to four chains around a point, each once.
struct ChainsSeen {
  Point heads[4];
  int count = 0;
  bool add(Point head) {
    for (int i = 0; i < count; i++)
      if (heads[i] == head) return false;
    heads[count++] = head;
    return true;
  }
};

}  // namespace

const Geometry& Geometry::of(int xSize, int ySize) {
  static std::mutex mutex;
  static std::unique_ptr<const Geometry> tables[MAX_SIZE][MAX_SIZE];
  std::lock_guard<std::mutex> lock(mutex);
  std::unique_ptr<const Geometry>& table = tables[ySize - 1][xSize - 1];
  if (!table) table = std::make_unique<const Geometry>(makeGeometry(xSize, ySize));
  return *table;
}

Board::Board(int xSize, int ySize) {
  if (xSize < 1 || xSize > MAX_SIZE || ySize < 1 || ySize > MAX_SIZE)
    throw std::invalid_argument("board sizes are 1 to 19");
  geometry_ = &Geometry::of(xSize, ySize);
  xSize_ = static_cast<int8_t>(xSize);
  ySize_ = static_cast<int8_t>(ySize);
  area_ = static_cast<int16_t>(xSize * ySize);
  hash_ = zobrist().size(xSize, ySize);
  colors_.fill(EMPTY);
  head_.fill(NO_POINT);
  next_.fill(NO_POINT);
  size_.fill(0);
  liberties_.fill(0);
}

Board Board::fromColors(int xSize, int ySize, const ColorMap& colors, Point koPoint) {
  Board board(xSize, ySize);
  board.colors_ = colors;
  board.koPoint_ = koPoint;
  for (Point p = 0; p < board.area_; p++)
    if (colors[p] != EMPTY) board.hash_ ^= zobrist().stone(p, colors[p]);
  board.rebuildChains();
  return board;
}

bool Board::isEmptyBoard() const {
  for (Point p = 0; p < area_; p++)
    if (colors_[p] != EMPTY) return false;
  return true;
}

bool Board::isSuicide(Point p, Color c) const {
  if (p == pass()) return false;
  for (Point n : adjacent(p)) {
    if (colors_[n] == EMPTY) return false;
    if ((colors_[n] == c) == (liberties(n) > 1)) return false;  // a friend that keeps a liberty, or an enemy that dies
  }
  return true;
}

bool Board::isLegalIgnoringKo(Point p, Color c, bool multiStoneSuicide) const {
  if (p == pass()) return true;
  if (p < 0 || p > area_ || colors_[p] != EMPTY) return false;
  if (!isSuicide(p, c)) return true;
  return multiStoneSuicide && isAdjacentTo(p, c);
}

Point Board::koCapture(Point p, Color c) const {
  if (p == pass() || colors_[p] != EMPTY) return NO_POINT;
  const Color enemy = opponent(c);
  Point taken = NO_POINT;
  for (Point n : adjacent(p)) {
    if (colors_[n] != enemy) return NO_POINT;
    if (liberties(n) != 1) continue;
    if (taken != NO_POINT) return NO_POINT;
    taken = n;
  }
  return taken != NO_POINT && chainSize(taken) == 1 ? taken : NO_POINT;
}

bool Board::isAdjacentTo(Point p, Color c) const {
  for (Point n : adjacent(p))
    if (colors_[n] == c) return true;
  return false;
}

bool Board::isLibertyOf(Point p, Point chainStone) const {
  const Point head = head_[chainStone];
  for (Point n : adjacent(p))
    if (colors_[n] == colors_[chainStone] && head_[n] == head) return true;
  return false;
}

Hash128 Board::positionHashAfter(Point p, Color c) const {
  Hash128 hash = hash_;
  if (p == pass()) return hash;
  const bool suicide = isSuicide(p, c);
  const Color victim = suicide ? c : opponent(c);
  ChainsSeen seen;
  for (Point n : adjacent(p)) {
    if (colors_[n] != victim || liberties(n) != 1 || !seen.add(head_[n])) continue;
    Point stone = n;
    do {
      hash ^= zobrist().stone(stone, victim);
      stone = next_[stone];
    } while (stone != n);
  }
  if (!suicide) hash ^= zobrist().stone(p, c);
  return hash;
}

void Board::play(Point p, Color c) {
  koPoint_ = NO_POINT;
  if (p == pass()) return;
  const Color enemy = opponent(c);

  colors_[p] = c;
  hash_ ^= zobrist().stone(p, c);
  head_[p] = p;
  next_[p] = p;
  size_[p] = 1;
  liberties_[p] = 0;
  for (Point n : adjacent(p))
    if (colors_[n] == EMPTY) liberties_[p]++;

  int taken = 0;
  Point lastTaken = NO_POINT;
  ChainsSeen enemies;
  for (Point n : adjacent(p)) {
    if (colors_[n] == c && head_[n] != head_[p]) {
      liberties_[head_[n]]--;
      merge(n, p);
    } else if (colors_[n] == enemy && enemies.add(head_[n])) {
      if (--liberties_[head_[n]] == 0) {
        taken += removeChain(n);
        lastTaken = n;
      }
    }
  }
  captured_[enemy - 1] += taken;
  if (taken == 1 && chainSize(p) == 1 && liberties(p) == 1) koPoint_ = lastTaken;
  if (liberties(p) == 0) captured_[c - 1] += removeChain(p);
}

void Board::merge(Point a, Point b) {
  Point keep = head_[a];
  Point join = head_[b];
  if (size_[keep] < size_[join]) std::swap(keep, join);
  size_[keep] += size_[join];
  Point stone = join;
  Point last;
  do {
    for (Point n : adjacent(stone))
      if (colors_[n] == EMPTY && !isLibertyOf(n, keep)) liberties_[keep]++;
    head_[stone] = keep;
    last = stone;
    stone = next_[stone];
  } while (stone != join);
  next_[last] = next_[keep];
  next_[keep] = join;
}

int Board::removeChain(Point p) {
  const Color c = colors_[p];
  const Color enemy = opponent(c);
  int removed = 0;
  Point stone = p;
  do {
    colors_[stone] = EMPTY;
    hash_ ^= zobrist().stone(stone, c);
    removed++;
    ChainsSeen seen;
    for (Point n : adjacent(stone))
      if (colors_[n] == enemy && seen.add(head_[n])) liberties_[head_[n]]++;
    stone = next_[stone];
  } while (stone != p);
  return removed;
}

void Board::setStone(Point p, Color c) {
  const Color before = colors_[p];
  koPoint_ = NO_POINT;
  if (before == c) return;
  if (before != EMPTY) {
    colors_[p] = EMPTY;
    hash_ ^= zobrist().stone(p, before);
    rebuildChains();
  }
  if (c == EMPTY) return;
  const bool multiStoneSuicide = before == EMPTY;
  if (isLegalIgnoringKo(p, c, multiStoneSuicide)) play(p, c);
  koPoint_ = NO_POINT;
}

void Board::rebuildChains() {
  head_.fill(NO_POINT);
  std::array<Point, MAX_AREA> queue;
  for (Point start = 0; start < area_; start++) {
    const Color c = colors_[start];
    if (c == EMPTY || head_[start] != NO_POINT) continue;
    int count = 0;
    queue[count++] = start;
    head_[start] = start;
    for (int i = 0; i < count; i++)
      for (Point n : adjacent(queue[i]))
        if (colors_[n] == c && head_[n] == NO_POINT) {
          head_[n] = start;
          queue[count++] = n;
        }
    for (int i = 0; i < count; i++) next_[queue[i]] = queue[(i + 1) % count];
    size_[start] = static_cast<int16_t>(count);
    liberties_[start] = static_cast<int16_t>(countLiberties(start));
  }
}

int Board::countLiberties(Point head) const {
  PointSet found;
  Point stone = head;
  do {
    for (Point n : adjacent(stone))
      if (colors_[n] == EMPTY) found.set(n);
    stone = next_[stone];
  } while (stone != head);
  return static_cast<int>(found.count());
}

}  // namespace katago_agent
