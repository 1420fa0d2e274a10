// The root of a search: a new game, the next move, the start of a search, the root's own evaluation. See search.h.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "area.h"
#include "search.h"

namespace katago_agent {

void Search::clearTree() {
  root_ = std::make_unique<Node>(game_.positionHash(), game_.toPlay());
  table_.clear();
  bias_ = BiasTable();
  rootPolicy_.clear();
  scoreCenter_ = 0;
}

void Search::setGame(const Game& game, Color toPlay) {
  std::lock_guard<std::mutex> lock(mutex_);
  game_ = game;
  game_.setPassAliveUnderSuicide(preferPassAlive_);
  if (toPlay != game_.toPlay()) game_.restart(toPlay);
  clearTree();
}

void Search::advance(Point move, bool preventEncore) {
  std::lock_guard<std::mutex> lock(mutex_);
  const float bonus = game_.handicapBonus();
  const bool passEndsPhase = move == game_.pass() && game_.passWouldEndPhase(game_.toPlay());
  game_.play(move, game_.toPlay(), preventEncore);
  const Edge* next = root_->edgeOf(move);
  // The tree below a pass that ended a phase was searched as if the phase had ended; the game may say otherwise. And a pass from the
  // new root may mean something else than the same pass did deeper in the tree.
  const bool nextPassDiffers =
      game_.passWouldEndPhase(game_.toPlay()) &&
      (preventEncore || (params_.conservativePass && game_.passWouldEndGame(game_.toPlay())));
  // Limits count plies from the root, so a tree grown under any is of no use from another root.
  const bool limitsMove = limits_.any();
  if (next == nullptr || !next->node->evaluation || bonus != game_.handicapBonus() || passEndsPhase || nextPassDiffers || limitsMove ||
      game_.isFinished()) {
    clearTree();
    return;
  }
  // A copy, since other moves may lead to that node, too.
  auto root = std::make_unique<Node>(*next->node);
  root->bias = nullptr;
  root->biasDelta = root->biasWeight = 0;
  root->forceNonTerminal = false;
  root_ = std::move(root);
  rootPolicy_.clear();
  dropUnreachable();
}

void Search::dropUnreachable() {
  table_.keepReachable(*root_, [this](Node& node) { withdrawBias(node, params_.subtreeValueBiasFreeProp); });
}

// Deeper in the tree other moves may be tried than at the root: mirror images, and moves that only repeat a position here.
bool Search::dropRootEdges() {
  std::vector<Edge>& edges = root_->edges;
  const auto isOut = [this](const Edge& edge) { return !game_.isLegal(edge.move, root_->toPlay) || !isAllowedAtRoot(edge.move); };
  const auto end = std::remove_if(edges.begin(), edges.end(), isOut);
  if (end == edges.end()) return false;
  edges.erase(end, edges.end());
  root_->stats.visits = 1;
  for (const Edge& edge : edges) root_->stats.visits += edge.visits;
  recompute(*root_, 0);
  return true;
}

int64_t Search::begin(const SearchParams& params, const MoveLimits& limits) {
  std::lock_guard<std::mutex> lock(mutex_);
  const bool sameLimits = limits.untilDepth[0] == limits_.untilDepth[0] && limits.untilDepth[1] == limits_.untilDepth[1];
  // The advantage is the root player's, so the same number means another one after a move, and its negative the same.
  const double advantage = root_->toPlay == WHITE ? params.playoutDoublingAdvantage : -params.playoutDoublingAdvantage;
  if (!sameTree(params, params_) || advantage != whiteAdvantage_ || !sameLimits) clearTree();
  whiteAdvantage_ = advantage;
  params_ = params;
  limits_ = limits;
  evaluationKey_ = 0;
  if (params_.nnPolicyTemperature != 1.0) std::memcpy(&evaluationKey_, &params_.nnPolicyTemperature, sizeof evaluationKey_);
  if (params_.evaluatedAs != 0) evaluationKey_ ^= scramble(static_cast<uint64_t>(params_.evaluatedAs));
  counts_ = SearchCounts();
  instantSinceDelivery_ = 0;
  sqrtArea_ = std::sqrt(static_cast<double>(game_.area()));
  rootSafe_ = areaOf(game_.board(), {false, false, false, game_.suicideForPassAlive()});
  bias_.dropUnused();
  findRootSymmetries();

  const int wanted = game_.xSize() == game_.ySize() ? 8 : 4;
  symmetriesWanted_ = std::min(std::max(params_.rootNumSymmetriesToSample, 1), wanted);
  symmetriesToDo_.clear();
  symmetriesDone_.clear();
  if (root_->state == NodeState::EXPANDED) {
    setScoreCenter(root_->stats.scoreMean);
    makeRootPolicy();
    const bool dropped = dropRootEdges();
    recomputeAll();
    if (dropped) dropUnreachable();
    // Deeper in the tree this position was evaluated with other options.
    const bool differs = symmetriesWanted_ > 1 ||
                         (params_.rootPolicyOptimism != params_.policyOptimism && network_.policyChannels > 1) ||
                         (params_.ignorePreRootHistory && !params_.ignoreAllHistory);
    if (!differs) return root_->stats.visits;
  }
  if (!params_.nnRandomize && symmetriesWanted_ == 1) {
    symmetriesToDo_.push_back(0);
    return root_->stats.visits;
  }
  std::vector<int> all;
  for (int s = 0; s < wanted; s++) all.push_back(s);
  Random draw(seed_ ^ game_.positionHash().low);
  for (int i = 0; i < symmetriesWanted_; i++) {
    std::swap(all[i], all[i + static_cast<int>(draw.uniform() * (wanted - i))]);
    symmetriesToDo_.push_back(all[i]);
  }
  return root_->stats.visits;
}

// A centre of the score utility near the expected score, drawn towards an even game.
void Search::setScoreCenter(double expectedScore) {
  const double cap = sqrtArea_ * params_.dynamicScoreCenterScale;
  const double center = expectedScore * (1.0 - params_.dynamicScoreCenterZeroWeight);
  scoreCenter_ = std::min(std::max(center, expectedScore - cap), expectedScore + cap);
}

// What begins a game as `early` and becomes `late`: half of the way in so many turns, in fewer on small boards.
double Search::fromEarly(double early, double late) const {
  const double turns = static_cast<double>(game_.moves().size()) + params_.turnsBefore;
  const double halflives = turns / params_.chosenMoveTemperatureHalflife * 19.0 / sqrtArea_;
  return late + (early - late) * std::pow(0.5, halflives);
}

void Search::makeRootPolicy() {
  const int area = game_.area();
  rootPolicy_.resize(area + 1);
  // A position that was reached in another way may have had other bans.
  for (Point p = 0; p <= area; p++) rootPolicy_[p] = game_.isLegal(p, root_->toPlay) ? root_->evaluation->policy(p) : -1.0f;
  if (params_.rootPolicyTemperature == 1.0 && params_.rootPolicyTemperatureEarly == 1.0) return;
  const double temperature = fromEarly(params_.rootPolicyTemperatureEarly, params_.rootPolicyTemperature);
  const double top = *std::max_element(rootPolicy_.begin(), rootPolicy_.end());
  double sum = 0;
  for (float& p : rootPolicy_)
    if (p > 0) sum += p = static_cast<float>(std::pow(p / top, 1.0 / temperature));
  for (float& p : rootPolicy_)
    if (p > 0) p = static_cast<float>(p / sum);
}

// Which symmetries leave the root as it is, and which moves are a symmetry of another one.
void Search::findRootSymmetries() {
  const int area = game_.area();
  const int xSize = game_.xSize();
  const int ySize = game_.ySize();
  const Board& board = game_.board();
  rootDuplicate_.assign(area, false);
  rootSymmetries_ = {0};
  if (board.koPoint() != NO_POINT) return;
  for (Point p = 0; p < area; p++)
    if (game_.isSuperkoBanned(p)) return;
  for (int s = 1; s < (xSize == ySize ? 8 : 4); s++) {
    bool same = true;
    for (Point p = 0; p < area && same; p++) {
      Point q = symmetryPoint(p, xSize, ySize, s);
      same = board.at(p) == board.at(q) && game_.isKoRecaptureBlocked(p) == game_.isKoRecaptureBlocked(q) &&
             game_.secondEncoreStart(p) == game_.secondEncoreStart(q);
    }
    if (same) rootSymmetries_.push_back(s);
  }
  // Black's move of a kind is the one nearest the upper right, White's the one nearest the lower left, as in polite openings.
  const bool black = root_->toPlay == BLACK;
  for (int i = 0; i < area; i++) {
    const int column = black ? xSize - 1 - i / ySize : i / ySize;
    const int row = black ? i % ySize : ySize - 1 - i % ySize;
    const Point p = static_cast<Point>(row * xSize + column);
    if (limits_.forbids(root_->toPlay, p, 0) || rootDuplicate_[p]) continue;
    for (int s : rootSymmetries_) {
      Point q = symmetryPoint(p, xSize, ySize, s);
      if (q != p) rootDuplicate_[q] = true;
    }
  }
}

// Field by field; moves that are illegal in one are illegal in all.
Evaluation Search::averageOf(const std::vector<Evaluation>& all) {
  Evaluation mean = all.front();
  const float share = 1.0f / static_cast<float>(all.size());
  auto average = [&](auto field) {
    float sum = 0;
    for (const Evaluation& e : all) sum += field(e);
    return sum * share;
  };
  mean.whiteWin = average([](const Evaluation& e) { return e.whiteWin; });
  mean.whiteLoss = average([](const Evaluation& e) { return e.whiteLoss; });
  mean.noResult = average([](const Evaluation& e) { return e.noResult; });
  mean.whiteScoreMean = average([](const Evaluation& e) { return e.whiteScoreMean; });
  mean.whiteScoreMeanSq = average([](const Evaluation& e) { return e.whiteScoreMeanSq; });
  mean.whiteLead = average([](const Evaluation& e) { return e.whiteLead; });
  mean.varTimeLeft = average([](const Evaluation& e) { return e.varTimeLeft; });
  mean.shorttermWinlossError = average([](const Evaluation& e) { return e.shorttermWinlossError; });
  mean.shorttermScoreError = average([](const Evaluation& e) { return e.shorttermScoreError; });
  for (size_t p = 0; p < mean.policy.size(); p++) mean.policy[p] = average([p](const Evaluation& e) { return e.policy[p]; });
  for (size_t p = 0; p < mean.ownership.size(); p++) mean.ownership[p] = average([p](const Evaluation& e) { return e.ownership[p]; });
  return mean;
}

// The root's evaluation is complete: its first visit, or a new look at a reused tree's root.
void Search::setRootEvaluation(SharedEvaluation evaluation) {
  const bool isFirst = root_->state != NodeState::EXPANDED;
  root_->evaluation = std::move(evaluation);
  makeRootPolicy();
  if (!isFirst) return;
  root_->state = NodeState::EXPANDED;
  setScoreCenter(root_->evaluation->whiteScoreMean);
  addEvaluationAsVisit(*root_);
  counts_.visits++;
}

}  // namespace katago_agent
