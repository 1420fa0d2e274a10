#include "ownership_sum.h"

#include <algorithm>
#include <cmath>

namespace katago_agent {

OwnershipSum::OwnershipSum(int area, const Node& top, const std::function<double(const CompactEvaluation&)>& weightOf)
    : sum_(area, 0.0),
      squares_(area, 0.0),
      minShare_(0.5 / std::pow(std::max<double>(1.0, static_cast<double>(top.stats.visits)), 0.75)),
      weightOf_(weightOf) {
  add(top, 1.0);
}

std::vector<float> OwnershipSum::mean() const { return std::vector<float>(sum_.begin(), sum_.end()); }

std::vector<float> OwnershipSum::stdev() const {
  std::vector<float> result(sum_.size());
  for (size_t p = 0; p < sum_.size(); p++)
    result[p] = static_cast<float>(std::sqrt(std::max(squares_[p] - sum_[p] * sum_[p], 0.0)));
  return result;
}

// False where the node has no map: the end of a game, or not evaluated yet.
bool OwnershipSum::add(const Node& node, double share) {
  if (!node.evaluation) return false;
  double own = share;
  if (share >= minShare_ && !node.edges.empty() && !isOnPath(node)) {
    double weights = 0;
    double squares = 0;
    for (const Edge& edge : node.edges) {
      double weight = edge.weight();
      weights += weight;
      squares += weight * weight;
    }
    const double ownWeight = std::max(weightOf_(*node.evaluation), 1e-10);
    const double below = share * weights / (weights + ownWeight);
    if (below > 0 && squares > 0) {
      own = share - below;
      path_.push_back(&node);
      for (const Edge& edge : node.edges) {
        double weight = edge.weight();
        double part = weight * weight / squares * below;
        if (part < minShare_ * 0.01 || !add(*edge.node, part)) own += part;
      }
      path_.pop_back();
    }
  }
  for (size_t p = 0; p < sum_.size(); p++) {
    double value = node.evaluation->ownership(static_cast<Point>(p));
    sum_[p] += own * value;
    squares_[p] += own * value * value;
  }
  return true;
}

}  // namespace katago_agent
