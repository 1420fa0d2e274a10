// The owner of each point, averaged over what a search looked at. Start at the constructor.
#pragma once

#include <algorithm>
#include <functional>
#include <vector>

#include "node.h"

namespace katago_agent {

// Weighted sum of ownership maps over what lies below a node; deeper nodes count less, and the walk ends where a part would hardly count. The
// rules for that are KataGo's.
class OwnershipSum {
 public:
  // `weightOf` an evaluation is what it weighs beside its children.
  OwnershipSum(int area, const Node& top, const std::function<double(const CompactEvaluation&)>& weightOf);

  // area values each; 1 White, -1 Black.
  std::vector<float> mean() const;
  std::vector<float> stdev() const;

 private:
  bool add(const Node& node, double share);
  bool isOnPath(const Node& node) const { return std::find(path_.begin(), path_.end(), &node) != path_.end(); }

  std::vector<const Node*> path_;  // whose moves are being added; the graph may lead back to one
  std::vector<double> sum_;
  std::vector<double> squares_;
  const double minShare_;
  const std::function<double(const CompactEvaluation&)>& weightOf_;
};

}  // namespace katago_agent
