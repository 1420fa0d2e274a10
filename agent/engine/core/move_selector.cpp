#include "move_selector.h"

#include <algorithm>
#include <cmath>

namespace katago_agent {

// Lower confidence bound of a move's utility for the side to play, and how far below the mean it is.
void MoveSelector::lowerBound(const Node& parent, const Edge& edge, double& lcb, double& radius) const {
  const double range = s_.utilityRadius();
  radius = 2.0 * range * s_.params_.lcbStdevs;
  lcb = -radius;
  const Node& child = *edge.node;
  double weight = edge.weight();
  double weightSq = edge.weightSq();
  if (child.stats.visits <= 0 || weight <= 0 || weightSq <= 0) return;
  // A little weight of the widest variance there can be, so that few visits do not look certain.
  const double samples = weight * weight / weightSq;
  const double priorWeight = weight / (samples * samples * samples);
  const double utility = child.stats.utility;
  double meanSq = std::max(child.stats.utilitySq, utility * utility + 1e-8);
  meanSq = (meanSq * weight + (meanSq + range * range) * priorWeight) / (weight + priorWeight);
  weight += priorWeight;
  weightSq += priorWeight * priorWeight;
  double shown = utility;
  if (&parent == s_.root_.get())
    shown += s_.scoreUtilityDiff(child.stats.scoreMean, child.stats.scoreMeanSq, s_.endingBonus(edge.move));
  radius = std::sqrt((meanSq - utility * utility) / (weight * weight / weightSq)) * s_.params_.lcbStdevs;
  lcb = (parent.toPlay == WHITE ? shown : -shown) - radius;
}

// Under territory scoring with fillDameBeforePass: do not pass while another move is about as good.
bool MoveSelector::suppressPass(const Node& node) const {
  if (!s_.params_.fillDameBeforePass || &node != s_.root_.get()) return false;
  if (s_.game_.rules().scoring != Scoring::TERRITORY || s_.game_.encorePhase() > 0) return false;
  const Edge* pass = node.edgeOf(s_.game_.pass());
  if (pass == nullptr || pass->node->stats.visits <= 0 || pass->weight() <= 1e-10) return false;
  const double sign = node.toPlay == WHITE ? 1.0 : -1.0;
  const Board& board = s_.game_.board();
  auto owned = [&](Point p) { return sign * node.evaluation->ownership(p); };
  for (const Edge& edge : node.edges) {
    if (&edge == pass) continue;
    bool nextToOwn = false;
    for (Point neighbor : board.adjacent(edge.move)) nextToOwn = nextToOwn || owned(neighbor) > 0.95;
    if (owned(edge.move) < -0.95 && !nextToOwn) continue;
    const double weight = edge.weight();
    if ((edge.visits <= 500 && weight <= 2 * std::sqrt(pass->weight())) || weight <= 1e-10) continue;
    const NodeStats& a = edge.node->stats;
    const NodeStats& b = pass->node->stats;
    if (sign * (a.utility - b.utility) > -0.1 && sign * (a.scoreMean - b.scoreMean) > -0.5 && sign * (a.lead - b.lead) > -0.5)
      return true;
  }
  return false;
}

// Weight that PUCT would have given a move, had it known at first what it knows now.
double MoveSelector::reducedWeight(const Node& node, const Edge& edge, double scaling, double bestValue) const {
  const Node& child = *edge.node;
  const double weight = edge.weight();
  if (child.stats.visits <= 0 || weight <= 0) return 0;
  const double prior = s_.policyOf(node, edge.move);
  if (prior < 0) return 0;
  double utility = child.stats.utility + s_.scoreUtilityDiff(child.stats.scoreMean, child.stats.scoreMeanSq, s_.endingBonus(edge.move));
  double explore = bestValue - (node.toPlay == WHITE ? utility : -utility);
  if (explore <= 0) return weight;
  return std::min(weight, std::max(0.0, scaling * prior / explore - 1));
}

Selection MoveSelector::select(const Node& node, double scaleMaxTo, bool useLcb) const {
  const size_t n = node.edges.size();
  Selection result;
  result.values.assign(n, 0);
  result.lcb.assign(n, 0);
  result.radius.assign(n, 0);
  if (n == 0) return result;
  const bool noPass = suppressPass(node);
  double total = 0;
  size_t stable = 0;  // the move whose value is best known
  double bestGoodness = -1e30;
  for (size_t i = 0; i < n; i++) {
    const Edge& edge = node.edges[i];
    const double prior = s_.policyOf(node, edge.move);
    total += edge.weight();
    if (prior >= 0 && !(noPass && edge.move == s_.game_.pass())) result.values[i] = edge.weight();
    const double visits = static_cast<double>(edge.visits);
    const double goodness = result.values[i] * std::max(0.0, visits - 1) / std::max(1.0, visits) + 2.0 * prior;
    if (goodness > bestGoodness) {
      bestGoodness = goodness;
      stable = i;
    }
  }
  const double stableWeight = result.values[stable];
  if (&node == s_.root_.get()) {
    const Search::FirstPlay first = s_.firstPlay(node, true, 1.0);
    const double scaling = s_.exploreScaling(total, first.stdevFactor);
    const double best = s_.selectionValue(node, node.edges[stable], scaling, total, first, true, true, false);
    for (size_t i = 0; i < n; i++)
      if (i != stable && result.values[i] > 0) result.values[i] = std::ceil(reducedWeight(node, node.edges[i], scaling, best));
  }
  for (size_t i = 0; i < n; i++) lowerBound(node, node.edges[i], result.lcb[i], result.radius[i]);
  if (useLcb && s_.params_.useLcbForSelection) preferBestBound(result, stableWeight);
  finishValues(node, result, scaleMaxTo);
  return result;
}

// The move with the best lower bound gets as much value as any would need to be as sure.
void MoveSelector::preferBestBound(Selection& result, double stableWeight) const {
  int best = -1;
  for (size_t i = 0; i < result.values.size(); i++) {
    if (result.values[i] <= 0 || result.values[i] < s_.params_.minVisitPropForLCB * stableWeight) continue;
    if (best < 0 || result.lcb[i] > result.lcb[best]) best = static_cast<int>(i);
  }
  if (best < 0) return;
  double value = result.values[best];
  for (size_t i = 0; i < result.values.size(); i++) {
    const double excess = result.lcb[best] - result.lcb[i];
    if (static_cast<int>(i) == best || excess < 0) continue;
    const double factor = (result.radius[i] + excess) / (result.radius[i] + 0.20 * excess);
    value = std::max(value, factor * factor * result.values[i]);
  }
  result.values[best] = value;
}

void MoveSelector::finishValues(const Node& node, Selection& result, double scaleMaxTo) const {
  result.valid = leaveOutPoor(result.values);
  if (!result.valid) {
    for (size_t i = 0; i < result.values.size(); i++) result.values[i] = std::max(0.0, s_.policyOf(node, node.edges[i].move));
    result.valid = leaveOutPoor(result.values);
  }
  const double top = *std::max_element(result.values.begin(), result.values.end());
  if (result.valid && top > 0 && top < scaleMaxTo)
    for (double& value : result.values) value *= scaleMaxTo / top;
}

// What is not to be played at any temperature: by chosenMovePrune and chosenMoveSubtract, but at most a 64th of the best. False, and
// nothing is done, where no move has any value.
bool MoveSelector::leaveOutPoor(std::vector<double>& values) const {
  const double top = *std::max_element(values.begin(), values.end());
  if (top <= 1e-50) return false;
  const double subtract = std::min(s_.params_.chosenMoveSubtract, top / 64.0);
  const double prune = std::min(s_.params_.chosenMovePrune, top / 64.0);
  for (double& value : values) value = value < prune ? 0.0 : std::max(0.0, value - subtract);
  return true;
}

// The move to play: by its value, with a little chance at first. Straight from the policy where nothing was searched.
Point MoveSelector::choose(const Node& root) const {
  std::vector<Point> moves;
  std::vector<double> values;
  const Selection selection = select(root, 0.0, true);
  if (selection.valid) {
    values = selection.values;
    for (const Edge& edge : root.edges) moves.push_back(edge.move);
  } else {
    const auto takePolicy = [&](bool onlyAllowed) {
      moves.clear();
      values.clear();
      for (int p = 0; p <= s_.game_.area(); p++) {
        const Point move = static_cast<Point>(p);
        const double prior = s_.policyOf(root, move);
        if (prior < 0 || s_.limits_.forbids(root.toPlay, move, 0) || (onlyAllowed && !s_.isAllowedAtRoot(move))) continue;
        moves.push_back(move);
        values.push_back(prior);
      }
      return !moves.empty() && leaveOutPoor(values);
    };
    // A 0 may be what compact_evaluation.h rounded, such as all but a mirror image of the best at a low nnPolicyTemperature: no reason to
    // play nothing, as KataGo does.
    if (!takePolicy(true)) takePolicy(false);
  }
  if (moves.empty()) return NO_POINT;
  return moves[draw(values)];
}

size_t MoveSelector::draw(const std::vector<double>& values) const {
  const SearchParams& p = s_.params_;
  const double temperature = s_.fromEarly(p.chosenMoveTemperatureEarly, p.chosenMoveTemperature);
  const size_t best = static_cast<size_t>(std::max_element(values.begin(), values.end()) - values.begin());
  if (values[best] <= 0 || (temperature <= 1e-4 && p.chosenMoveTemperatureOnlyBelowProb >= 1)) return best;
  double sum = 0;
  for (double value : values) sum += std::max(0.0, value);
  const double logTop = std::log(values[best]);
  const double threshold =
      std::min(0.0, std::log(std::max(1e-50, p.chosenMoveTemperatureOnlyBelowProb)) + std::log(sum) - logTop);
  std::vector<double> chances(values.size(), 0);
  double total = 0;
  for (size_t i = 0; i < values.size(); i++) {
    if (values[i] <= 0) continue;
    double log = std::log(values[i]) - logTop;
    if (log <= threshold) log = (log - threshold) / std::max(temperature, 1e-4) + threshold;
    total += chances[i] = std::exp(log);
  }
  double ticket = s_.random_.uniform() * total;
  for (size_t i = 0; i < chances.size(); i++)
    if (chances[i] > 0 && (ticket -= chances[i]) < 0) return i;
  return best;
}

}  // namespace katago_agent
