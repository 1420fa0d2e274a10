// Stones, chains, liberties and simple ko on a board of 1x1 to 19x19. Start at `Board::play`.
//
// A point is y * x_size + x, row-major from the top left. x_size * y_size is the pass, NO_POINT is none. Neighbours come from a
// table that all boards of one size share, so no border is stored and a board is one plain block of memory to copy.
//
// Each stone knows the head of its chain and the next stone of its chain (a ring). Size and liberties of a chain are exact and
// stand at its head. Knows nothing of history, superko or scoring: see game.h and area.h.
#pragma once

#include <array>
#include <bitset>
#include <cstdint>

namespace katago_agent {

using Point = int16_t;
enum Color : int8_t { EMPTY = 0, BLACK = 1, WHITE = 2 };
inline Color opponent(Color c) { return static_cast<Color>(BLACK + WHITE - c); }

constexpr int MAX_SIZE = 19;  // KataGo's networks and default build end here
constexpr int MAX_AREA = MAX_SIZE * MAX_SIZE;
constexpr Point NO_POINT = -1;

using PointSet = std::bitset<MAX_AREA>;
using ColorMap = std::array<Color, MAX_AREA>;  // one colour a point; entries from `area()` on are unused

struct Hash128 {
  uint64_t low = 0;
  uint64_t high = 0;
  Hash128& operator^=(const Hash128& other) {
    low ^= other.low;
    high ^= other.high;
    return *this;
  }
  friend Hash128 operator^(Hash128 a, const Hash128& b) { return a ^= b; }
  friend bool operator==(const Hash128& a, const Hash128& b) { return a.low == b.low && a.high == b.high; }
  friend bool operator!=(const Hash128& a, const Hash128& b) { return !(a == b); }
};

// Neighbours of every point of one board size. Orthogonal ones in the order up, left, right, down.
struct Geometry {
  struct Points {
    Point list[4];
    int8_t count;
    const Point* begin() const { return list; }
    const Point* end() const { return list + count; }
  };
  std::array<Points, MAX_AREA> adjacent;
  std::array<Points, MAX_AREA> diagonal;

  // The shared table of a size; lives as long as the process. Thread-safe.
  static const Geometry& of(int xSize, int ySize);
};

class Board {
 public:
  // Throws std::invalid_argument outside 1..MAX_SIZE.
  Board(int xSize, int ySize);

  int xSize() const { return xSize_; }
  int ySize() const { return ySize_; }
  int area() const { return area_; }
  Point pass() const { return static_cast<Point>(area_); }
  Color at(Point p) const { return colors_[p]; }
  const ColorMap& colors() const { return colors_; }
  const Geometry::Points& adjacent(Point p) const { return geometry_->adjacent[p]; }
  const Geometry::Points& diagonal(Point p) const { return geometry_->diagonal[p]; }

  // Of the stone at p, which must be there.
  Point chain(Point p) const { return head_[p]; }
  Point nextInChain(Point p) const { return next_[p]; }
  int chainSize(Point p) const { return size_[head_[p]]; }
  int liberties(Point p) const { return liberties_[head_[p]]; }

  // Where a single stone was just captured by one that it could retake at once, else NO_POINT.
  Point koPoint() const { return koPoint_; }
  void clearKo() { koPoint_ = NO_POINT; }

  // Hash of size and stones; no ko, no side to move.
  const Hash128& positionHash() const { return hash_; }
  Hash128 positionHashAfter(Point p, Color c) const;

  // How many stones of the colour were captured so far, suicides included.
  int captured(Color c) const { return captured_[c - 1]; }

  bool isEmptyBoard() const;
  bool isSuicide(Point p, Color c) const;
  // No ko, no superko: empty and not a suicide that is forbidden. Passing always is. A one-stone suicide never is.
  bool isLegalIgnoringKo(Point p, Color c, bool multiStoneSuicide) const;
  bool isKoBanned(Point p) const { return p == koPoint_; }
  bool isLegal(Point p, Color c, bool multiStoneSuicide) const {
    return !isKoBanned(p) && isLegalIgnoringKo(p, c, multiStoneSuicide);
  }
  // True where c could take a single stone at once and be retaken by ko shape; `koCapture` gives the stone, else NO_POINT.
  Point koCapture(Point p, Color c) const;
  bool isAdjacentTo(Point p, Color c) const;
  bool isLibertyOf(Point p, Point chainStone) const;

  // The move must be legal ignoring ko; with multi-stone suicide always accepted.
  void play(Point p, Color c);
  // Puts a stone (or EMPTY) there whatever stood there, as KataGo sets up positions: stones left without liberties by it are captured
  // and counted, a stone that would have none itself is not placed (or, as part of a chain on an empty point, takes the chain away).
  void setStone(Point p, Color c);

  // A board of the past: chains are built anew from its stones.
  static Board fromColors(int xSize, int ySize, const ColorMap& colors, Point koPoint);

 private:
  void rebuildChains();
  int countLiberties(Point head) const;
  void merge(Point a, Point b);
  int removeChain(Point p);

  const Geometry* geometry_;
  int8_t xSize_;
  int8_t ySize_;
  int16_t area_;
  Point koPoint_ = NO_POINT;
  int32_t captured_[2] = {0, 0};
  Hash128 hash_;
  ColorMap colors_;
  std::array<Point, MAX_AREA> head_;
  std::array<Point, MAX_AREA> next_;
  std::array<int16_t, MAX_AREA> size_;
  std::array<int16_t, MAX_AREA> liberties_;
};

}  // namespace katago_agent
