// What each move is worth playing, once it was searched, and the choice of one: KataGo's play selection values. Start at
// `MoveSelector::select`; `choose` draws from what it gives.
#pragma once

#include <vector>

#include "search.h"

namespace katago_agent {

// How much each move of a node deserves to be played, and why.
struct Selection {
  std::vector<double> values;  // by index of edge
  std::vector<double> lcb;     // of utility, from the side to play
  std::vector<double> radius;
  bool valid = false;          // false: no move has any weight or prior
};

// Reads a search whose mutex the caller holds. Draws a random number only in `choose`.
class MoveSelector {
 public:
  explicit MoveSelector(Search& search) : s_(search) {}

  // Of any node with an evaluation. The greatest value is at least `scaleMaxTo`; `useLcb` favours a sure move.
  Selection select(const Node& node, double scaleMaxTo, bool useLcb) const;
  Point choose(const Node& root) const;

 private:
  void lowerBound(const Node& parent, const Edge& edge, double& lcb, double& radius) const;
  bool suppressPass(const Node& node) const;
  double reducedWeight(const Node& node, const Edge& edge, double scaling, double bestValue) const;
  void preferBestBound(Selection& result, double stableWeight) const;
  void finishValues(const Node& node, Selection& result, double scaleMaxTo) const;
  bool leaveOutPoor(std::vector<double>& values) const;
  size_t draw(const std::vector<double>& values) const;

  Search& s_;
};

}  // namespace katago_agent
