#include "report.h"

#include <algorithm>
#include <cmath>

#include "katago_hash.h"
#include "move_selector.h"
#include "ownership_sum.h"
#include "score_value.h"

namespace katago_agent {

class ReportBuilder {
 public:
  ReportBuilder(Search& search, const ReportOptions& options) : s_(search), selector_(search), options_(options) {}

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
    report.chosen = selector_.choose(root);
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

  // Averages of the root, with the weight of moves that turned out bad reduced.
  void addRootValues(const Node& root, Report& report) const {
    const NodeStats& own = root.stats;
    NodeStats sum;
    const Selection selection = selector_.select(root, 1.0, false);
    if (selection.valid) {
      for (size_t i = 0; i < root.edges.size(); i++) {
        const NodeStats& stats = root.edges[i].node->stats;
        if (stats.visits > 0 && stats.weightSum > 0 && root.edges[i].visits > 0) accumulate(sum, stats, selection.values[i]);
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
    const Selection selection = selector_.select(root, 1.0, true);
    double visitedPolicy = 0;
    for (const Edge& edge : root.edges) visitedPolicy += std::max(0.0, s_.policyOf(root, edge.move));
    const Search::FirstPlay first = s_.firstPlay(root, true, std::min(visitedPolicy, 1.0));
    for (size_t i = 0; i < root.edges.size(); i++) {
      const Edge& edge = root.edges[i];
      const Node& child = *edge.node;
      MoveReport move = describe(root, edge, first);
      move.playSelectionValue = selection.values[i];
      const double sign = root.toPlay == WHITE ? 1.0 : -1.0;
      move.utilityLcb = sign * selection.lcb[i];
      addWinrateBound(move, selection.radius[i], sign);
      move.pv = {{edge.move, child.stats.visits, edge.visits}};
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

  MoveReport describe(const Node& root, const Edge& edge, const Search::FirstPlay& first) const {
    MoveReport move;
    const Node& child = *edge.node;
    move.move = edge.move;
    move.visits = child.stats.visits;
    move.edgeVisits = edge.visits;
    move.prior = s_.policyOf(root, edge.move);
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
      if (node->edges.empty() || !node->evaluation) return;
      const Selection selection = selector_.select(*node, 1.0, true);
      if (!selection.valid) return;
      const auto top = std::max_element(selection.values.begin(), selection.values.end());
      const size_t best = static_cast<size_t>(top - selection.values.begin());
      const Edge& edge = node->edges[best];
      node = edge.node;
      pv.push_back({edge.move, node->stats.visits, edge.visits});
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

  void addHashes(Report& report) const {
    const Game& game = s_.game_;
    report.hash = katagoHash(game.board(), game.toPlay());
    report.symmetricHash = katagoSymmetricHash(game.board(), game.toPlay());
  }

  Search& s_;
  const MoveSelector selector_;
  const ReportOptions& options_;
};

Report makeReport(Search& search, const ReportOptions& options) { return ReportBuilder(search, options).build(); }

}  // namespace katago_agent
