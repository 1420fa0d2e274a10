// From a leaf back to the root: how values of leaves become values of nodes. See search.h.
#include <algorithm>
#include <cmath>

#include "score_value.h"
#include "search.h"

namespace katago_agent {

double Search::evaluationWeight(const CompactEvaluation& e) const {
  if (!usesUncertainty()) return 1.0;
  double slope = scoreValueSlope(e.whiteScoreMean, 0.0, 2.0, sqrtArea_) * params_.staticScoreUtilityFactor +
                 scoreValueSlope(e.whiteScoreMean, scoreCenter_, params_.dynamicScoreCenterScale, sqrtArea_) *
                     params_.dynamicScoreUtilityFactor;
  double uncertainty = params_.winLossUtilityFactor * e.shorttermWinlossError + slope * e.shorttermScoreError;
  if (params_.uncertaintyExponent != 1.0) uncertainty = std::pow(uncertainty, params_.uncertaintyExponent);
  return params_.uncertaintyCoeff / (uncertainty + params_.uncertaintyCoeff / params_.uncertaintyMaxWeight);
}

void Search::addLeafValue(Node& node, double winLoss, double noResult, double scoreMean, double scoreMeanSq, double lead,
                          double weight, bool isTerminal) {
  double utility = resultUtility(winLoss, noResult) + scoreUtility(scoreMean, scoreMeanSq);
  if (!isTerminal && node.bias) utility += params_.subtreeValueBiasFactor * node.bias->mean();
  NodeStats& s = node.stats;
  const double oldWeight = s.weightSum;
  const double newWeight = oldWeight + weight;
  auto average = [&](double& old, double value) { old = (old * oldWeight + value * weight) / newWeight; };
  average(s.winLoss, winLoss);
  average(s.noResult, noResult);
  average(s.scoreMean, scoreMean);
  average(s.scoreMeanSq, scoreMeanSq);
  average(s.lead, lead);
  average(s.utility, utility);
  average(s.utilitySq, utility * utility);
  s.weightSum = newWeight;
  s.weightSqSum += weight * weight;
  s.visits++;
}

void Search::addEvaluationAsVisit(Node& node) {
  const CompactEvaluation& e = *node.evaluation;
  addLeafValue(node, e.winLoss(), e.noResult, e.whiteScoreMean, e.whiteScoreMeanSq, e.whiteLead, evaluationWeight(e), false);
}

void Search::addTerminalVisit(Node& node, const Game& game) {
  const double weight = usesUncertainty() ? params_.uncertaintyMaxWeight : 1.0;
  if (game.isNoResult()) {
    addLeafValue(node, 0, 1, 0, 0, 0, weight, true);
    return;
  }
  const double draw = params_.drawEquivalentWinsForWhite;
  const double score = game.finalWhiteScore();
  const double wins = score > 0 ? 1.0 : score < 0 ? 0.0 : draw;
  // Where komi allows a draw, integer scores stand for a mix of half a point more and less.
  const bool integer = score == std::floor(score);
  const double low = score - 0.5;
  const double high = score + 0.5;
  const double mean = integer ? score + draw - 0.5 : score;
  const double meanSq = integer ? low * low + (high * high - low * low) * draw : score * score;
  addLeafValue(node, 2 * wins - 1, 0, mean, meanSq, mean, weight, true);
}

// The last node of `path` has had its visit. Carries it up and takes the walk's virtual losses away. `lastCounts` is false where the
// last node's own visit must not reach its parent.
void Search::backUp(const std::vector<Step>& path, bool lastCounts) {
  bool counts = lastCounts;
  for (size_t i = path.size() - 1; i > 0; i--) {
    Node& parent = *path[i - 1].node;
    counts = counts && path[i].countsForParent;
    path[i].node->virtualLosses--;
    if (!counts) continue;
    parent.edges[path[i].edge].visits++;
    recompute(parent, 1);
  }
  if (counts) counts_.visits++;
}

void Search::undo(const std::vector<Step>& path) {
  for (size_t i = 1; i < path.size(); i++) path[i].node->virtualLosses--;
}

// A node's averages anew from its children and its own evaluation, with `newVisits` visits more.
void Search::recompute(Node& node, int newVisits) {
  std::vector<WeightedChild>& children = children_;
  children.clear();
  double total = 0;
  for (const Edge& edge : node.edges) {
    const NodeStats& stats = edge.node->stats;
    if (stats.visits <= 0 || stats.weightSum <= 0 || edge.visits <= 0) continue;
    double self = node.toPlay == WHITE ? stats.utility : -stats.utility;
    children.push_back({edge.node, self, edge.weight(), std::max(1e-30, policyOf(node, edge.move))});
    total += children.back().weight;
  }
  const double unprunedTotal = total;
  if (params_.useNoisePruning) total = pruneNoise(children, total, params_);
  downweightBad(children, total, params_.valueWeightExponent);

  NodeStats sum;
  for (const WeightedChild& child : children) {
    const NodeStats& s = child.node->stats;
    const double w = child.weight;
    const double scale = w / s.weightSum;
    sum.winLoss += w * s.winLoss;
    sum.noResult += w * s.noResult;
    sum.scoreMean += w * s.scoreMean;
    sum.scoreMeanSq += w * s.scoreMeanSq;
    sum.lead += w * s.lead;
    sum.utility += w * s.utility;
    sum.utilitySq += w * s.utilitySq;
    sum.weightSqSum += scale * scale * s.weightSqSum;
  }
  sum.weightSum = total;

  const CompactEvaluation& e = *node.evaluation;
  double utility = evaluationUtility(e);
  if (node.bias) {
    if (total > 1e-10) {
      double weight = std::pow(unprunedTotal, params_.subtreeValueBiasWeightExponent);
      double delta = (sum.utility / total - utility) * weight;
      node.bias->deltaSum += delta - node.biasDelta;
      node.bias->weightSum += weight - node.biasWeight;
      node.biasDelta = delta;
      node.biasWeight = weight;
    }
    utility += params_.subtreeValueBiasFactor * node.bias->mean();
  }
  const double w = evaluationWeight(e);
  const double weightSum = sum.weightSum + w;
  NodeStats& s = node.stats;
  s.winLoss = (sum.winLoss + w * e.winLoss()) / weightSum;
  s.noResult = (sum.noResult + w * e.noResult) / weightSum;
  s.scoreMean = (sum.scoreMean + w * e.whiteScoreMean) / weightSum;
  s.scoreMeanSq = (sum.scoreMeanSq + w * e.whiteScoreMeanSq) / weightSum;
  s.lead = (sum.lead + w * e.whiteLead) / weightSum;
  s.utility = (sum.utility + w * utility) / weightSum;
  s.utilitySq = (sum.utilitySq + w * utility * utility) / weightSum;
  s.weightSqSum = sum.weightSqSum + w * w;
  s.weightSum = weightSum;
  s.visits += newVisits;
}

// All utilities anew, children first: after the centre of the score utility moved or parameters changed.
void Search::recomputeAll() {
  for (Node* each : childrenFirst(*root_)) {
    Node& node = *each;
    if (!node.edges.empty()) {
      recompute(node, 0);
    } else if (node.stats.weightSum > 0) {
      node.stats.utility = resultUtility(node.stats.winLoss, node.stats.noResult) +
                           scoreUtility(node.stats.scoreMean, node.stats.scoreMeanSq);
      node.stats.utilitySq = node.stats.utility * node.stats.utility;
    }
  }
}

}  // namespace katago_agent
