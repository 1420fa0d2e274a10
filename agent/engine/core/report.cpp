#include "report.h"

#include <algorithm>
#include <cmath>

#include "ownership_sum.h"
#include "score_value.h"
#include "zobrist.h"

namespace katago_agent {

namespace {

bool lessHash(const Hash128& a, const Hash128& b) { return a.high != b.high ? a.high < b.high : a.low < b.low; }

}  // namespace

// How much each child of a node deserves to be played, and why.
struct Selection {
  std::vector<double> values;  // by index of child
  std::vector<double> lcb;     // of utility, from the side to play
  std::vector<double> radius;
  bool valid = false;          // false: no child has any weight or prior
};

class ReportBuilder {
 public:
  ReportBuilder(Search& search, const ReportOptions& options) : s_(search), options_(options) {}

  Report build() {
    std::lock_guard<std::mutex> lock(s_.mutex_);
    Report report;
    const Node& root = *s_.root_;
    report.player = root.toPlay;
    if (root.state != NodeState::EXPANDED || !root.evaluation || root.stats.weightSum <= 0) return report;
    report.hasRoot = true;
    report.raw = root.evaluation;
    addRootValues(root, report);
    addMoves(root, report);
    report.chosen = choose(root);
    addHashes(report);
    if (options_.ownership || options_.ownershipStdev) addOwnership(root, report.ownership, report.ownershipStdev, options_.ownershipStdev);
    return report;
  }

 private:
  double weightOf(const CompactEvaluation& e) const { return s_.evaluationWeight(e); }

  void addOwnership(const Node& node, std::vector<float>& mean, std::vector<float>& stdev, bool withStdev) const {
    if (!node.evaluation) return;
    std::function<double(const CompactEvaluation&)> weight = [this](const CompactEvaluation& e) { return weightOf(e); };
    OwnershipSum sum(s_.game_.area(), node, weight);
    mean = sum.mean();
    if (withStdev) stdev = sum.stdev();
  }

  // Lower confidence bound of a child's utility for the side to play, and how far below the mean it is.
  void lowerBound(const Node& parent, const Node& child, double& lcb, double& radius) const {
    const double range = s_.utilityRadius();
    radius = 2.0 * range * s_.params_.lcbStdevs;
    lcb = -radius;
    double weight = child.edgeWeight();
    double weightSq = child.edgeWeightSq();
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
      shown += s_.scoreUtilityDiff(child.stats.scoreMean, child.stats.scoreMeanSq, s_.endingBonus(child.move));
    radius = std::sqrt((meanSq - utility * utility) / (weight * weight / weightSq)) * s_.params_.lcbStdevs;
    lcb = (parent.toPlay == WHITE ? shown : -shown) - radius;
  }

  // Under territory scoring with fillDameBeforePass: do not pass while another move is about as good.
  bool suppressPass(const Node& node) const {
    if (!s_.params_.fillDameBeforePass || &node != s_.root_.get()) return false;
    if (s_.game_.rules().scoring != Scoring::TERRITORY || s_.game_.encorePhase() > 0) return false;
    const Node* pass = node.childAt(s_.game_.pass());
    if (pass == nullptr || pass->stats.visits <= 0 || pass->edgeWeight() <= 1e-10) return false;
    const double sign = node.toPlay == WHITE ? 1.0 : -1.0;
    const Board& board = s_.game_.board();
    auto owned = [&](Point p) { return sign * node.evaluation->ownership(p); };
    for (const auto& child : node.children) {
      if (child.get() == pass) continue;
      bool nextToOwn = false;
      for (Point neighbor : board.adjacent(child->move)) nextToOwn = nextToOwn || owned(neighbor) > 0.95;
      if (owned(child->move) < -0.95 && !nextToOwn) continue;
      const double weight = child->edgeWeight();
      if ((child->edgeVisits <= 500 && weight <= 2 * std::sqrt(pass->edgeWeight())) || weight <= 1e-10) continue;
      const NodeStats& a = child->stats;
      const NodeStats& b = pass->stats;
      if (sign * (a.utility - b.utility) > -0.1 && sign * (a.scoreMean - b.scoreMean) > -0.5 && sign * (a.lead - b.lead) > -0.5)
        return true;
    }
    return false;
  }

  // Weight that PUCT would have given a child, had it known at first what it knows now.
  double reducedWeight(const Node& node, const Node& child, double scaling, double bestValue) const {
    const double weight = child.edgeWeight();
    if (child.stats.visits <= 0 || weight <= 0) return 0;
    const double prior = s_.policyOf(node, child.move);
    if (prior < 0) return 0;
    double utility = child.stats.utility + s_.scoreUtilityDiff(child.stats.scoreMean, child.stats.scoreMeanSq, s_.endingBonus(child.move));
    double explore = bestValue - (node.toPlay == WHITE ? utility : -utility);
    if (explore <= 0) return weight;
    return std::min(weight, std::max(0.0, scaling * prior / explore - 1));
  }

  Selection select(const Node& node, double scaleMaxTo, bool useLcb) const {
    const size_t n = node.children.size();
    Selection result;
    result.values.assign(n, 0);
    result.lcb.assign(n, 0);
    result.radius.assign(n, 0);
    if (n == 0) return result;
    const bool noPass = suppressPass(node);
    double total = 0;
    size_t stable = 0;  // the child whose value is best known
    double bestGoodness = -1e30;
    for (size_t i = 0; i < n; i++) {
      const Node& child = *node.children[i];
      const double prior = s_.policyOf(node, child.move);
      total += child.edgeWeight();
      if (prior >= 0 && !(noPass && child.move == s_.game_.pass())) result.values[i] = child.edgeWeight();
      const double visits = static_cast<double>(child.edgeVisits);
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
      const double best = s_.selectionValue(node, *node.children[stable], scaling, total, first, true, true, false);
      for (size_t i = 0; i < n; i++)
        if (i != stable && result.values[i] > 0) result.values[i] = std::ceil(reducedWeight(node, *node.children[i], scaling, best));
    }
    for (size_t i = 0; i < n; i++) lowerBound(node, *node.children[i], result.lcb[i], result.radius[i]);
    if (useLcb && s_.params_.useLcbForSelection) preferBestBound(result, stableWeight);
    finishValues(node, result, scaleMaxTo);
    return result;
  }

  // The child with the best lower bound gets as much value as any child would need to be as sure.
  void preferBestBound(Selection& result, double stableWeight) const {
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

  void finishValues(const Node& node, Selection& result, double scaleMaxTo) const {
    double top = *std::max_element(result.values.begin(), result.values.end());
    if (top <= 1e-50) {
      for (size_t i = 0; i < result.values.size(); i++) result.values[i] = std::max(0.0, s_.policyOf(node, node.children[i]->move));
      top = *std::max_element(result.values.begin(), result.values.end());
      if (top <= 1e-50) return;
    }
    result.valid = true;
    const double subtract = std::min(s_.params_.chosenMoveSubtract, top / 64.0);
    const double prune = std::min(s_.params_.chosenMovePrune, top / 64.0);
    top = 0;
    for (double& value : result.values) {
      value = value < prune ? 0.0 : std::max(0.0, value - subtract);
      top = std::max(top, value);
    }
    if (top > 0 && top < scaleMaxTo)
      for (double& value : result.values) value *= scaleMaxTo / top;
  }

  // Averages of the root, with the weight of moves that turned out bad reduced.
  void addRootValues(const Node& root, Report& report) const {
    const NodeStats& own = root.stats;
    NodeStats sum;
    const Selection selection = select(root, 1.0, false);
    if (selection.valid) {
      for (size_t i = 0; i < root.children.size(); i++) {
        const Node& child = *root.children[i];
        if (child.stats.visits > 0 && child.stats.weightSum > 0 && child.edgeVisits > 0) accumulate(sum, child.stats, selection.values[i]);
      }
      const CompactEvaluation& e = *root.evaluation;
      NodeStats raw;
      raw.winLoss = e.winLoss();
      raw.noResult = e.noResult;
      raw.scoreMean = e.whiteScoreMean;
      raw.scoreMeanSq = e.whiteScoreMeanSq;
      raw.lead = e.whiteLead;
      raw.utility = s_.evaluationUtility(e);
      accumulate(sum, raw, weightOf(e));
    } else {
      accumulate(sum, own, 1.0);
    }
    const double w = sum.weightSum;
    report.winLoss = std::min(1.0, std::max(-1.0, sum.winLoss / w));
    report.noResult = std::max(0.0, sum.noResult / w);
    report.scoreMean = sum.scoreMean / w;
    report.scoreStdev = scoreStdev(sum.scoreMean / w, sum.scoreMeanSq / w);
    report.lead = sum.lead / w;
    report.utility = sum.utility / w;
    report.visits = own.visits;
    report.weight = own.weightSum;
  }

  static void accumulate(NodeStats& sum, const NodeStats& s, double weight) {
    sum.winLoss += weight * s.winLoss;
    sum.noResult += weight * s.noResult;
    sum.scoreMean += weight * s.scoreMean;
    sum.scoreMeanSq += weight * s.scoreMeanSq;
    sum.lead += weight * s.lead;
    sum.utility += weight * s.utility;
    sum.weightSum += weight;
  }

  void addMoves(const Node& root, Report& report) const {
    const Selection selection = select(root, 1.0, true);
    double visitedPolicy = 0;
    for (const auto& child : root.children) visitedPolicy += std::max(0.0, s_.policyOf(root, child->move));
    const Search::FirstPlay first = s_.firstPlay(root, true, std::min(visitedPolicy, 1.0));
    for (size_t i = 0; i < root.children.size(); i++) {
      const Node& child = *root.children[i];
      MoveReport move = describe(root, child, first);
      move.playSelectionValue = selection.values[i];
      const double sign = root.toPlay == WHITE ? 1.0 : -1.0;
      move.utilityLcb = sign * selection.lcb[i];
      addWinrateBound(move, selection.radius[i], sign);
      move.pv = {{child.move, child.stats.visits, child.edgeVisits}};
      appendPv(child, move.pv);
      if (options_.stopPvAtPhaseEnd) cutAtPhaseEnd(move.pv);
      if (options_.movesOwnership || options_.movesOwnershipStdev)
        addOwnership(child, move.ownership, move.ownershipStdev, options_.movesOwnershipStdev);
      report.moves.push_back(std::move(move));
    }
    std::stable_sort(report.moves.begin(), report.moves.end(), [](const MoveReport& a, const MoveReport& b) {
      if ((a.edgeVisits > 0) != (b.edgeVisits > 0)) return a.edgeVisits > 0;
      if (a.playSelectionValue != b.playSelectionValue) return a.playSelectionValue > b.playSelectionValue;
      if (a.edgeVisits != b.edgeVisits) return a.edgeVisits > b.edgeVisits;
      return a.prior > b.prior;
    });
    if (s_.params_.rootSymmetryPruning && s_.rootSymmetries_.size() > 1) addSymmetricMoves(report);
  }

  MoveReport describe(const Node& root, const Node& child, const Search::FirstPlay& first) const {
    MoveReport move;
    move.move = child.move;
    move.visits = child.stats.visits;
    move.edgeVisits = child.edgeVisits;
    move.prior = s_.policyOf(root, child.move);
    const bool known = child.stats.visits > 0 && child.stats.weightSum > 1e-30;
    const NodeStats& from = known ? child.stats : root.stats;
    move.utility = known ? from.utility : first.utility;
    move.winLoss = known ? from.winLoss : std::min(1.0, std::max(-1.0, from.winLoss + first.utility - from.utility));
    move.noResult = known ? from.noResult : 0;
    move.scoreMean = from.scoreMean;
    move.scoreStdev = scoreStdev(from.scoreMean, from.scoreMeanSq);
    move.lead = from.lead;
    move.weight = known ? child.stats.weightSum : 0;
    return move;
  }

  // KataGo's bound of the win rate: the utility's radius, scaled by the part that winning has in utility.
  void addWinrateBound(MoveReport& move, double radius, double sign) const {
    const double winrate = 0.5 + 0.5 * move.winLoss;
    const double factor = 0.5 * s_.params_.winLossUtilityFactor / (s_.utilityRadius() + 1e-20);
    move.lcb = winrate - sign * radius * factor;
  }

  void appendPv(const Node& from, std::vector<PvStep>& pv) const {
    const Node* node = &from;
    while (static_cast<int>(pv.size()) < options_.pvLength + 1) {
      if (node->children.empty() || !node->evaluation) return;
      const Selection selection = select(*node, 1.0, true);
      if (!selection.valid) return;
      const auto top = std::max_element(selection.values.begin(), selection.values.end());
      const size_t best = static_cast<size_t>(top - selection.values.begin());
      node = node->children[best].get();
      pv.push_back({node->move, node->stats.visits, node->edgeVisits});
    }
  }

  // The search looks into the encore, but where the game itself never enters it, lines of play end before it.
  void cutAtPhaseEnd(std::vector<PvStep>& pv) const {
    const Point pass = s_.game_.pass();
    if (std::none_of(pv.begin(), pv.end(), [&](const PvStep& step) { return step.move == pass; })) return;
    Game game = s_.game_;
    for (size_t i = 0; i < pv.size(); i++) {
      game.play(pv[i].move, game.toPlay(), false);
      if (game.encorePhase() == s_.game_.encorePhase()) continue;
      pv.resize(i);
      return;
    }
  }

  // Each move that was searched also stands for its mirror images.
  void addSymmetricMoves(Report& report) const {
    const int xSize = s_.game_.xSize();
    const int ySize = s_.game_.ySize();
    auto mirrored = [&](Point p, int symmetry) { return p == s_.game_.pass() ? p : symmetryPoint(p, xSize, ySize, symmetry); };
    std::vector<MoveReport> all;
    std::vector<bool> done(s_.game_.area() + 1, false);
    for (const MoveReport& move : report.moves)
      for (int symmetry : s_.rootSymmetries_) {
        const Point image = mirrored(move.move, symmetry);
        if (done[image] || s_.limits_.forbids(report.player, image, 0)) continue;
        done[image] = true;
        MoveReport copy = move;
        copy.move = image;
        if (symmetry != 0) {
          copy.symmetryOf = move.move;
          for (PvStep& step : copy.pv) step.move = mirrored(step.move, symmetry);
          mirrorMap(copy.ownership, move.ownership, symmetry);
          mirrorMap(copy.ownershipStdev, move.ownershipStdev, symmetry);
        }
        all.push_back(std::move(copy));
      }
    report.moves = std::move(all);
  }

  void mirrorMap(std::vector<float>& out, const std::vector<float>& in, int symmetry) const {
    for (size_t p = 0; p < in.size(); p++)
      out[symmetryPoint(static_cast<Point>(p), s_.game_.xSize(), s_.game_.ySize(), symmetry)] = in[p];
  }

  // The move to play: by its value, with a little chance at first. Straight from the policy where nothing was searched.
  Point choose(const Node& root) const {
    if (s_.game_.isFinished()) return s_.game_.pass();
    std::vector<Point> moves;
    std::vector<double> values;
    const Selection selection = select(root, 0.0, true);
    if (selection.valid) {
      values = selection.values;
      for (const auto& child : root.children) moves.push_back(child->move);
    } else {
      for (int p = 0; p <= s_.game_.area(); p++) {
        const Point move = static_cast<Point>(p);
        const double prior = s_.policyOf(root, move);
        if (prior < 0 || s_.limits_.forbids(root.toPlay, move, 0) || !s_.isAllowedAtRoot(move)) continue;
        moves.push_back(move);
        values.push_back(prior);
      }
    }
    if (moves.empty()) return NO_POINT;
    return moves[draw(values)];
  }

  size_t draw(const std::vector<double>& values) const {
    const SearchParams& p = s_.params_;
    const double halflives = static_cast<double>(s_.game_.moves().size()) / p.chosenMoveTemperatureHalflife * 19.0 / s_.sqrtArea_;
    const double temperature =
        p.chosenMoveTemperature + (p.chosenMoveTemperatureEarly - p.chosenMoveTemperature) * std::pow(0.5, halflives);
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

  void addHashes(Report& report) const {
    const Game& game = s_.game_;
    report.hash = game.positionHash();
    report.symmetricHash = report.hash;
    for (int symmetry = 1; symmetry < 8; symmetry++) {
      const bool transposed = symmetry >= 4;
      Board board(transposed ? game.ySize() : game.xSize(), transposed ? game.xSize() : game.ySize());
      for (Point p = 0; p < game.area(); p++)
        if (game.board().at(p) != EMPTY) board.setStone(symmetryPoint(p, game.xSize(), game.ySize(), symmetry), game.board().at(p));
      const Point ko = game.board().koPoint();
      Hash128 hash = board.positionHash() ^ zobrist().toPlay(game.toPlay());
      if (ko != NO_POINT) hash ^= zobrist().koBan(symmetryPoint(ko, game.xSize(), game.ySize(), symmetry));
      if (lessHash(hash, report.symmetricHash)) report.symmetricHash = hash;
    }
  }

  Search& s_;
  const ReportOptions& options_;
};

Report makeReport(Search& search, const ReportOptions& options) { return ReportBuilder(search, options).build(); }

}  // namespace katago_agent
