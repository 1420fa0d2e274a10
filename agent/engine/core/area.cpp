#include "area.h"

#include <algorithm>
#include <vector>

namespace katago_agent {

namespace {

// A maximal connected set of points without stones of one colour, holding at least one empty point.
struct Region {
  std::vector<Point> points;
  std::vector<Point> vitalFor;  // heads of the chains that every point of it touches
  int interior = 0;             // points that touch no stone of the colour
  bool hasEnemy = false;
  bool bordersDoomed = false;  // touches a chain that is not pass-alive
};

class Benson {
 public:
  Benson(const Board& board, Color color, bool multiStoneSuicide)
      : board_(board), color_(color), suicide_(multiStoneSuicide), vital_(MAX_AREA, 0) {
    regionOf_.fill(-1);
    alive_.fill(false);
    for (Point p = 0; p < board.area(); p++) {
      if (board.at(p) == EMPTY && regionOf_[p] < 0) addRegion(p);
      if (board.at(p) == color && board.chain(p) == p) heads_.push_back(p);
    }
    solve();
  }

  void mark(const AreaOptions& options, ColorMap& result) const {
    if (heads_.empty()) return;
    for (Point p = 0; p < board_.area(); p++)
      if (board_.at(p) == color_ && alive_[board_.chain(p)]) result[p] = color_;
    for (const Region& region : regions_) {
      // At most one point where no stone of ours is near: no room for an enemy to live.
      const bool tight = region.interior <= 1 && !region.bordersDoomed;
      const bool safe = options.safeBigTerritories && !region.hasEnemy && !region.bordersDoomed;
      if (tight || safe) {
        for (Point p : region.points) result[p] = color_;
      } else if (options.unsafeBigTerritories && !region.hasEnemy) {
        // The stones around may themselves stand in the other side's pass-alive territory, marked before: leave that.
        for (Point p : region.points)
          if (result[p] == EMPTY) result[p] = color_;
      }
    }
  }

 private:
  void addRegion(Point start) {
    const auto index = static_cast<int16_t>(regions_.size());
    Region& region = regions_.emplace_back();
    region.points.push_back(start);
    regionOf_[start] = index;
    std::vector<Point>& points = region.points;
    std::vector<std::pair<Point, int>> touches;  // chain head -> points of the region that touch it
    int counted = 0;
    for (size_t i = 0; i < points.size(); i++) {
      const Point p = points[i];
      region.hasEnemy |= board_.at(p) != EMPTY;
      if (!board_.isAdjacentTo(p, color_)) region.interior++;
      // Where suicide is legal the enemy may make its own stones vanish, so their points must touch the chain too.
      const bool counts = suicide_ || board_.at(p) == EMPTY;
      counted += counts;
      Point seen[4];
      int seenCount = 0;
      for (Point n : board_.adjacent(p)) {
        if (board_.at(n) != color_) {
          if (regionOf_[n] < 0) {
            regionOf_[n] = index;
            points.push_back(n);
          }
          continue;
        }
        const Point head = board_.chain(n);
        if (!counts || std::find(seen, seen + seenCount, head) != seen + seenCount) continue;
        seen[seenCount++] = head;
        auto touch = std::find_if(touches.begin(), touches.end(), [&](const auto& t) { return t.first == head; });
        if (touch == touches.end())
          touches.emplace_back(head, 1);
        else
          touch->second++;
      }
    }
    for (const auto& [head, count] : touches) {
      if (count != counted) continue;
      region.vitalFor.push_back(head);
      vital_[head]++;
    }
  }

  // A chain with less than two vital regions is doomed, and a region that touches a doomed chain is vital for none.
  void solve() {
    for (Point head : heads_) alive_[head] = true;
    for (bool changed = true; changed;) {
      changed = false;
      for (Point head : heads_) {
        if (!alive_[head] || vital_[head] >= 2) continue;
        alive_[head] = false;
        changed = true;
        Point stone = head;
        do {
          for (Point n : board_.adjacent(stone))
            if (regionOf_[n] >= 0) doom(regions_[regionOf_[n]]);
          stone = board_.nextInChain(stone);
        } while (stone != head);
      }
    }
  }

  void doom(Region& region) {
    if (region.bordersDoomed) return;
    region.bordersDoomed = true;
    for (Point head : region.vitalFor) vital_[head]--;
  }

  const Board& board_;
  const Color color_;
  const bool suicide_;
  std::vector<Region> regions_;
  std::vector<Point> heads_;
  std::vector<int> vital_;
  std::array<int16_t, MAX_AREA> regionOf_;
  std::array<bool, MAX_AREA> alive_;
};

// All points connected to `start` that have its colour in `colors`.
template <typename Visit>
void flood(const Board& board, const ColorMap& colors, Point start, PointSet& seen, Visit visit) {
  std::vector<Point> queue{start};
  seen.set(start);
  for (size_t i = 0; i < queue.size(); i++) {
    visit(queue[i]);
    for (Point n : board.adjacent(queue[i]))
      if (colors[n] == colors[start] && !seen[n]) {
        seen.set(n);
        queue.push_back(n);
      }
  }
}

bool looksLikeSeki(const Board& board, const ColorMap& basic, Point p) {
  if (board.at(p) == basic[p] && board.liberties(p) == 1) return true;
  for (Point n : board.adjacent(p))
    if (board.at(n) == EMPTY && basic[n] == EMPTY) return true;
  return false;
}

}  // namespace

ColorMap areaOf(const Board& board, const AreaOptions& options) {
  ColorMap result;
  result.fill(EMPTY);
  Benson(board, BLACK, options.multiStoneSuicide).mark(options, result);
  Benson(board, WHITE, options.multiStoneSuicide).mark(options, result);
  if (options.keepOtherStones)
    for (Point p = 0; p < board.area(); p++)
      if (result[p] == EMPTY) result[p] = board.at(p);
  return result;
}

ColorMap independentLifeArea(const Board& board, bool keepTerritories, bool keepStones, bool multiStoneSuicide,
                             int& whiteMinusBlackRegions) {
  const ColorMap basic = areaOf(board, {true, true, true, multiStoneSuicide});
  PointSet seki;
  for (Point p = 0; p < board.area(); p++)
    if (basic[p] != EMPTY && !seki[p] && looksLikeSeki(board, basic, p)) flood(board, basic, p, seki, [](Point) {});

  ColorMap result;
  result.fill(EMPTY);
  whiteMinusBlackRegions = 0;
  PointSet seen;
  for (Point p = 0; p < board.area(); p++) {
    if (basic[p] == EMPTY || seki[p] || seen[p]) continue;
    whiteMinusBlackRegions += basic[p] == WHITE ? 1 : -1;
    flood(board, basic, p, seen, [&](Point q) { result[q] = basic[q]; });
  }
  for (Point p = 0; p < board.area(); p++) {
    if (basic[p] == EMPTY) continue;
    const bool isStone = basic[p] == board.at(p);
    if (isStone ? keepStones : keepTerritories) result[p] = basic[p];
  }
  return result;
}

}  // namespace katago_agent
