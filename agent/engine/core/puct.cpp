// Which child to visit next: PUCT with KataGo's first-play urgency, virtual losses and root rules. See search.h.
#include <algorithm>
#include <cmath>

#include "search.h"

namespace katago_agent {

namespace {

constexpr double NOTHING = -1e50;
constexpr double FORCED = 1e20;
// Keeps the exploration term positive before the first child has weight.
constexpr double CHILD_WEIGHT_OFFSET = 0.01;

}  // namespace

double Search::policyOf(const Node& node, Point p) const {
  if (&node == root_.get() && !rootPolicy_.empty()) return rootPolicy_[p];
  return node.evaluation->policy(p);
}

double Search::exploreScaling(double totalChildWeight, double stdevFactor) const {
  double cpuct = params_.cpuctExploration + params_.cpuctExplorationLog * std::log((totalChildWeight + params_.cpuctExplorationBase) /
                                                                                   params_.cpuctExplorationBase);
  return cpuct * std::sqrt(totalChildWeight + CHILD_WEIGHT_OFFSET) * stdevFactor;
}

// What a child that was never visited is taken to be worth: the parent's value, less the more of the policy was tried already.
Search::FirstPlay Search::firstPlay(const Node& node, bool isRoot, double visitedPolicy) const {
  const NodeStats& s = node.stats;
  double stdev = params_.cpuctUtilityStdevPrior;
  if (s.visits > 0 && s.weightSum > 1) {
    double square = s.utility * s.utility;
    double prior = params_.cpuctUtilityStdevPrior * params_.cpuctUtilityStdevPrior;
    double priorWeight = params_.cpuctUtilityStdevPriorWeight;
    double meanSquare =
        ((square + prior) * priorWeight + std::max(s.utilitySq, square) * s.weightSum) / (priorWeight + s.weightSum - 1.0);
    stdev = std::sqrt(std::max(0.0, meanSquare - square));
  }
  double parent = s.utility;
  if (params_.fpuParentWeightByVisitedPolicy) {
    double share = std::min(1.0, std::pow(visitedPolicy, params_.fpuParentWeightByVisitedPolicyPow));
    parent = share * parent + (1.0 - share) * evaluationUtility(*node.evaluation);
  } else if (params_.fpuParentWeight > 0) {
    parent += params_.fpuParentWeight * (evaluationUtility(*node.evaluation) - parent);
  }
  double reduction = (isRoot ? params_.rootFpuReductionMax : params_.fpuReductionMax) * std::sqrt(visitedPolicy);
  double lossProp = isRoot ? params_.rootFpuLossProp : params_.fpuLossProp;
  double sign = node.toPlay == WHITE ? 1.0 : -1.0;
  double utility = parent - sign * reduction;
  utility += (-sign * utilityRadius() - utility) * lossProp;
  return {utility, s.weightSum / static_cast<double>(std::max<int64_t>(s.visits, 1)),
          1.0 + params_.cpuctUtilityStdevScale * (stdev / params_.cpuctUtilityStdevPrior - 1.0)};
}

// Smooths the policy and lifts half of the moves by a random amount, so that analysis looks at more of them.
void Search::addWideRootNoise(double& utility, double& prior, Color player) {
  prior = std::pow(prior, 1.0 / (4.0 * params_.wideRootNoise + 1.0));
  if (random_.uniform() < 0.5) {
    double bonus = params_.wideRootNoise * std::fabs(random_.gaussian());
    utility += player == WHITE ? bonus : -bonus;
  }
}

double Search::selectionValue(const Node& node, const Edge& edge, double scaling, double totalChildWeight, const FirstPlay& first,
                              bool isRoot, bool countsEdge, bool duringSearch) {
  double prior = policyOf(node, edge.move);
  if (prior < 0) return NOTHING;
  const Node& child = *edge.node;
  double weight = countsEdge ? edge.weight() : child.stats.weightSum;
  double utility = first.utility;
  if (child.stats.visits > 0 && weight > 0) {
    utility = child.stats.utility;
    if (isRoot) utility += scoreUtilityDiff(child.stats.scoreMean, child.stats.scoreMeanSq, endingBonus(edge.move));
  }
  if (child.virtualLosses > 0) {
    double lossWeight = child.virtualLosses * params_.numVirtualLossesPerThread;
    double loss = node.toPlay == WHITE ? -utilityRadius() : utilityRadius();
    utility += (loss - utility) * lossWeight / (lossWeight + std::max(0.25, weight));
    weight += lossWeight;
  }
  if (isRoot && duringSearch && countsEdge) {
    double desired = params_.rootDesiredPerChildVisitsCoeff;
    if (desired > 0 && prior > 0 && weight < std::sqrt(prior * totalChildWeight * desired)) return FORCED;
    if (params_.wideRootNoise > 0) addWideRootNoise(utility, prior, node.toPlay);
  }
  return scaling * prior / (1.0 + weight) + (node.toPlay == WHITE ? utility : -utility);
}

// Root moves that the rules allow but that would only prolong the game or repeat a symmetric one.
bool Search::isAllowedAtRoot(Point move) const {
  if (move == game_.pass()) return true;
  const std::vector<Move>& moves = game_.moves();
  const size_t n = moves.size();
  // The opponent passed four times running: it is done, leave both sides' safe area alone.
  if (params_.rootPruneUselessMoves && n >= 7 && rootSafe_[move] != EMPTY) {
    bool done = true;
    for (size_t back = 1; back <= 7; back += 2)
      done = done && moves[n - back].point == game_.pass() && moves[n - back].color == opponent(root_->toPlay);
    if (done) return false;
  }
  return !(params_.rootSymmetryPruning && rootDuplicate_[move]);
}

Search::Choice Search::chooseChild(const Node& node, const Game& game, int depth) {
  const bool isRoot = &node == root_.get();
  std::bitset<MAX_AREA + 1> tried;
  double visitedPolicy = 0;
  double totalWeight = 0;
  int64_t edgeVisits = 0;
  for (const Edge& edge : node.edges) {
    tried.set(edge.move);
    double prior = policyOf(node, edge.move);
    if (prior < 0) continue;
    visitedPolicy += prior;
    totalWeight += edge.weight();
    edgeVisits += edge.visits;
  }
  const FirstPlay first = firstPlay(node, isRoot, std::min(visitedPolicy, 1.0));
  const double scaling = exploreScaling(totalWeight, first.stdevFactor);

  Choice choice;
  double best = NOTHING;
  for (size_t i = 0; i < node.edges.size(); i++) {
    const Edge& edge = node.edges[i];
    if (limits_.forbids(node.toPlay, edge.move, depth)) continue;
    double value = selectionValue(node, edge, scaling, totalWeight, first, isRoot, true, true);
    if (value > best) {
      best = value;
      choice = {static_cast<int>(i), edge.move, true};
    }
  }

  // Of the moves not tried, only the one with the highest prior can be the best: they share one utility.
  Point bestNew = NO_POINT;
  double bestPrior = 0;
  const int area = game.area();
  for (int p = 0; p <= area; p++) {
    if (tried[p]) continue;
    const Point move = static_cast<Point>(p);
    double order = isRoot && !rootPolicy_.empty() ? rootPolicy_[p] : node.evaluation->policyOrder(move) - 1.0;
    if (order < 0 || (bestNew != NO_POINT && order <= bestPrior)) continue;
    if (limits_.forbids(node.toPlay, move, depth) || (isRoot && !isAllowedAtRoot(move))) continue;
    bestPrior = order;
    bestNew = move;
  }
  if (bestNew != NO_POINT) {
    double utility = first.utility;
    double prior = policyOf(node, bestNew);
    if (isRoot && params_.wideRootNoise > 0) addWideRootNoise(utility, prior, node.toPlay);
    double value = scaling * prior + (node.toPlay == WHITE ? utility : -utility);
    if (value > best) choice = {static_cast<int>(node.edges.size()), bestNew, true};
  }
  forcePassOrOther(node, game, bestNew, edgeVisits, choice);
  return choice;
}

// Where a pass would end the phase, both the pass and some other move are looked at early, by a visit that the parent does not
// count: a network that misjudges the end of the game is found out by the score.
void Search::forcePassOrOther(const Node& node, const Game& game, Point bestNew, int64_t edgeVisits, Choice& choice) const {
  if (edgeVisits < 2 || !params_.enableMorePassingHacks || limits_.any() || choice.index < 0) return;
  if (!game.passWouldEndPhase(node.toPlay)) return;
  const Point pass = game.pass();
  bool hasPass = false;
  bool hasOther = false;
  for (const Edge& edge : node.edges) (edge.move == pass ? hasPass : hasOther) = true;
  const int next = static_cast<int>(node.edges.size());
  if (!hasPass && choice.move != pass)
    choice = {next, pass, false};
  else if (!hasOther && choice.move == pass && bestNew != pass && bestNew != NO_POINT)
    choice = {next, bestNew, false};
}

}  // namespace katago_agent
