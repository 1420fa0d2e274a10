// The loop of a search: walks to leaves, hands them out, takes their evaluations. See search.h; the root is in root.cpp.
#include "search.h"

#include <algorithm>
#include <cmath>
#include <exception>

#include "graph_key.h"

namespace katago_agent {

namespace {

// Walks that end at a cached or finished position cost nothing, so one thread could make thousands while another waits for the
// network, all drawn to the same line by the other's virtual loss. KataGo makes them wait; we allow this many for each leaf out.
constexpr int INSTANT_VISITS_PER_LEAF = 8;
// Tries to find another way when a walk meets a leaf that is already out. Each try leaves its virtual losses for the next.
constexpr int COLLISION_TRIES = 6;
// A leaf is chosen without what the leaves that are out will say. Threads must not wait for each other, so each may always take one;
// a batch is filled only where the search knows so many visits for each leaf that is out (docs/decisions/0011 has the measurement).
constexpr int VISITS_PER_FURTHER_LEAF = 16;
// So that a caller can stop a search that never needs the network; about a millisecond's work.
constexpr int INSTANT_VISITS_PER_SELECT = 100;

}  // namespace

Search::Search(const PostParams& network, bool preferPassAlive, EvalCache& cache, uint64_t seed)
    : network_(network),
      preferPassAlive_(preferPassAlive),
      cache_(cache),
      seed_(seed),
      random_(seed),
      game_(MAX_SIZE, MAX_SIZE, Rules(), 7.5f) {
  rootSafe_.fill(EMPTY);
  // All that the way back from a leaf needs: it must not fail half-way.
  rootPolicy_.reserve(MAX_AREA + 1);
  children_.reserve(MAX_AREA + 1);
  clearTree();
}

Search::~Search() = default;

EncodeOptions Search::optionsFor(const Game& game, bool isRoot) const {
  EncodeOptions options;
  options.enablePassingHacks = params_.enablePassingHacks;
  options.conservativePassAndIsRoot = params_.conservativePass && isRoot;
  options.drawEquivalentWinsForWhite = params_.drawEquivalentWinsForWhite;
  options.policyOptimism = isRoot ? params_.rootPolicyOptimism : params_.policyOptimism;
  if (params_.playoutDoublingAdvantage != 0)
    options.playoutDoublingAdvantage =
        game.toPlay() == root_->toPlay ? params_.playoutDoublingAdvantage : -params_.playoutDoublingAdvantage;
  if (params_.ignoreAllHistory)
    options.maxHistory = 0;
  else if (params_.ignorePreRootHistory)
    options.maxHistory = std::min<int>(HISTORY_MOVES, static_cast<int>(game.moves().size() - game_.moves().size()));
  return options;
}

// ---------------------------------------------------------------- select

bool Search::mayStart(int64_t maxVisits) const {
  if (!symmetriesToDo_.empty()) return true;
  const int64_t started = root_->stats.visits + inFlightPlayouts_;
  if (started >= maxVisits) return false;
  // A search of few visits is not spread over many leaves at once.
  const int64_t begun = root_->stats.visits - counts_.visits;
  const double atOnce = static_cast<double>(maxVisits - begun) / std::max(params_.minPlayoutsPerThread, 1e-9);
  return inFlight_ < std::max(1.0, std::floor(atOnce)) && instantSinceDelivery_ <= INSTANT_VISITS_PER_LEAF * inFlight_;
}

bool Search::mayFillBatch() const {
  return !symmetriesToDo_.empty() || inFlight_ < root_->stats.visits / VISITS_PER_FURTHER_LEAF;
}

int Search::takeLeaf() {
  for (size_t i = 0; i < leaves_.size(); i++)
    if (!leaves_[i]->inUse) return static_cast<int>(i);
  leaves_.push_back(std::make_unique<Leaf>(game_));
  return static_cast<int>(leaves_.size()) - 1;
}

int Search::select(int maxLeaves, int64_t maxVisits, float* spatial, float* global, int* leaves) {
  std::vector<const Leaf*> taken;
  int instant = 0;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    std::vector<std::vector<Step>> collisions;
    while (static_cast<int>(taken.size()) < maxLeaves && instant < INSTANT_VISITS_PER_SELECT && mayStart(maxVisits) &&
           collisions.size() < COLLISION_TRIES && (taken.empty() || mayFillBatch())) {
      const int id = takeLeaf();
      Leaf& leaf = *leaves_[id];
      switch (walk(leaf)) {
        case Walk::LEAF:
          leaf.inUse = true;
          inFlight_++;
          if (leaf.countsPlayout) inFlightPlayouts_++;
          leaves[taken.size()] = id;
          taken.push_back(&leaf);
          break;
        case Walk::DONE:
          instant++;
          if (inFlight_ > 0) instantSinceDelivery_++;
          break;
        case Walk::COLLISION:
          collisions.push_back(leaf.path);
          break;
      }
    }
    for (const auto& path : collisions) undo(path);
  }
  for (size_t i = 0; i < taken.size(); i++) {
    const Leaf& leaf = *taken[i];
    encodeV7(leaf.game, leaf.path.back().node->toPlay, leaf.options, leaf.symmetry,
             spatial + i * SPATIAL_FEATURES * leaf.game.area(), global + i * GLOBAL_FEATURES);
  }
  return taken.empty() && instant > 0 ? MADE_PROGRESS : static_cast<int>(taken.size());
}

// From the root to a leaf. On LEAF and COLLISION the path's virtual losses stay; on DONE the visit is complete.
Search::Walk Search::walk(Leaf& leaf) {
  leaf.path.clear();
  leaf.path.push_back({root_.get()});
  leaf.countsPlayout = true;
  if (!symmetriesToDo_.empty()) {
    leaf.game = game_;
    return handOut(leaf, *root_, false);
  }
  if (root_->state != NodeState::EXPANDED) return Walk::COLLISION;
  leaf.game = game_;
  while (true) {
    Node& node = *leaf.path.back().node;
    if (leaf.path.size() > 1) {
      const bool ended = leaf.game.isFinished() && !node.forceNonTerminal;
      if (ended || node.state != NodeState::EXPANDED) return arrive(leaf, node);
    }
    const Choice choice = chooseChild(node, leaf.game, static_cast<int>(leaf.path.size()) - 1);
    if (choice.index < 0) {
      // Every move is forbidden here: what the network thinks is all there is.
      addEvaluationAsVisit(node);
      backUp(leaf.path, true);
      if (leaf.path.size() == 1) counts_.cacheHits++;
      return Walk::DONE;
    }
    // Another way to this node made the move legal there; here it repeats a position. Very rare (see graph_key.h), and never at the
    // root: the network is asked once more, for the moves of this way. The visit counts for those above, so the search goes on.
    if (!leaf.game.isLegal(choice.move, node.toPlay)) return handOut(leaf, node, false);
    Edge& edge = follow(leaf, node, choice);
    Node& child = *edge.node;
    const bool isCircle = std::any_of(leaf.path.begin(), leaf.path.end(), [&](const Step& step) { return step.node == &child; });
    child.virtualLosses++;
    leaf.path.push_back({&child, choice.index, choice.countsEdge || isCircle});
    if (!leaf.path.back().countsForParent) leaf.countsPlayout = false;
    // The child was seen more often than through this edge: catch up without a walk. A circle is walked only once.
    if (isCircle || (choice.countsEdge && edge.visits < child.stats.visits)) {
      backUp(leaf.path, true);
      counts_.cacheHits++;
      return Walk::DONE;
    }
  }
}

// Plays the chosen move and gives its edge, new where it was not tried before.
Edge& Search::follow(Leaf& leaf, Node& node, const Choice& choice) {
  Game& game = leaf.game;
  if (choice.index < static_cast<int>(node.edges.size())) {
    game.play(choice.move, node.toPlay, false);
    return node.edges[choice.index];
  }
  const bool isPass = choice.move == game.pass();
  const bool wasFriendly = isPass && game.shouldSuppressEndFromFriendlyPass(node.toPlay);
  std::shared_ptr<BiasEntry> bias = params_.subtreeValueBiasFactor != 0 ? bias_.entryFor(game, choice.move) : nullptr;
  game.play(choice.move, node.toPlay, false);
  const bool mustNotEnd =
      isPass && game.isFinished() && (wasFriendly || (params_.conservativePass && &node == root_.get()));
  const Hash128 key = graphKey(node.key, game, params_.drawEquivalentWinsForWhite, params_.graphSearchRepBound);
  const Color next = opponent(node.toPlay);
  const NodeTable::Found found =
      params_.useGraphSearch ? table_.nodeFor(key, next, mustNotEnd) : table_.newNode(key, next, mustNotEnd);
  if (found.isNew) found.node.bias = std::move(bias);
  node.edges.push_back({&found.node, choice.move, 0});
  return node.edges.back();
}

// The walk ends at `node`: the game is over there, the cache knows it, the network must be asked, or somebody else is asking.
Search::Walk Search::arrive(Leaf& leaf, Node& node) {
  if (leaf.game.isFinished() && !node.forceNonTerminal) {
    // Not EXPANDED: on another way to this node the game may go on, and then the network is asked.
    addTerminalVisit(node, leaf.game);
    counts_.terminal++;
    backUp(leaf.path, true);
    return Walk::DONE;
  }
  if (node.state == NodeState::EVALUATING) return Walk::COLLISION;
  return handOut(leaf, node, true);
}

Search::Walk Search::handOut(Leaf& leaf, Node& node, bool addsVisit) {
  const bool isRoot = &node == root_.get();
  leaf.options = optionsFor(leaf.game, isRoot);
  leaf.key = evaluationHash(leaf.game, node.toPlay, leaf.options);
  leaf.key.high ^= scramble(evaluationKey_);
  leaf.addsVisit = addsVisit;
  if (isRoot) {
    leaf.symmetry = symmetriesToDo_.back();
    symmetriesToDo_.pop_back();
    leaf.countsPlayout = root_->state != NodeState::EXPANDED && symmetriesToDo_.empty();
    // Several symmetries are averaged afresh; a single one may come from the cache.
    if (symmetriesWanted_ == 1) {
      if (SharedEvaluation known = cache_.find(leaf.key)) {
        counts_.cacheHits++;
        setRootEvaluation(std::move(known));
        return Walk::DONE;
      }
    }
    if (root_->state == NodeState::UNEVALUATED) root_->state = NodeState::EVALUATING;
    return Walk::LEAF;
  }
  if (SharedEvaluation known = addsVisit ? cache_.find(leaf.key) : nullptr) {
    counts_.cacheHits++;
    node.evaluation = std::move(known);
    node.state = NodeState::EXPANDED;
    addEvaluationAsVisit(node);
    backUp(leaf.path, true);
    return Walk::DONE;
  }
  // One position always gets the same symmetry from one seed, whichever thread comes first.
  const uint64_t choices = leaf.game.xSize() == leaf.game.ySize() ? 8 : 4;
  leaf.symmetry = params_.nnRandomize ? static_cast<int>(scramble(leaf.key.high ^ seed_) % choices) : 0;
  node.state = NodeState::EVALUATING;
  return Walk::LEAF;
}

// ---------------------------------------------------------------- deliver

bool Search::deliver(int n, const int* leaves, const float* policy, const float* value, const float* score, const float* ownership) {
  bool allFinite = true;
  std::exception_ptr failure;
  for (int i = 0; i < n; i++) {
    Leaf& leaf = leafOf(leaves[i]);
    const size_t area = static_cast<size_t>(leaf.game.area());
    try {
      Evaluation evaluation;
      const bool finite = postProcess(leaf.game, leaf.path.back().node->toPlay, network_, static_cast<float>(leaf.options.policyOptimism),
                                      leaf.symmetry, policy + i * network_.policyChannels * (area + 1), value + i * 3,
                                      score + i * network_.scoreChannels, ownership + i * area, evaluation,
                                      leaf.options.enablePassingHacks, static_cast<float>(params_.nnPolicyTemperature));
      std::lock_guard<std::mutex> lock(mutex_);
      counts_.evaluations++;
      if (finite)
        finish(leaf, std::move(evaluation));
      else
        giveUp(leaf);
      release(leaf);
      allFinite = allFinite && finite;
    } catch (...) {
      // Out of memory, before `finish` changed the tree. The other leaves go on: nobody could give them up from outside, as ids of the
      // first may be out anew.
      failure = std::current_exception();
      std::lock_guard<std::mutex> lock(mutex_);
      giveUp(leaf);
      release(leaf);
    }
  }
  if (failure) std::rethrow_exception(failure);
  return allFinite;
}

void Search::abandon(int n, const int* leaves) {
  for (int i = 0; i < n; i++) {
    Leaf& leaf = leafOf(leaves[i]);
    std::lock_guard<std::mutex> lock(mutex_);
    giveUp(leaf);
    release(leaf);
  }
}

Search::Leaf& Search::leafOf(int id) {
  std::lock_guard<std::mutex> lock(mutex_);
  return *leaves_[id];
}

void Search::giveUp(Leaf& leaf) {
  undo(leaf.path);
  Node& node = *leaf.path.back().node;
  if (node.state == NodeState::EVALUATING) node.state = node.evaluation ? NodeState::EXPANDED : NodeState::UNEVALUATED;
  if (leaf.path.size() == 1) symmetriesToDo_.push_back(leaf.symmetry);
}

void Search::release(Leaf& leaf) {
  leaf.inUse = false;
  inFlight_--;
  instantSinceDelivery_ = 0;
  if (leaf.countsPlayout) inFlightPlayouts_--;
}

void Search::finish(Leaf& leaf, Evaluation&& evaluation) {
  if (leaf.path.size() > 1) {
    auto compact = std::make_shared<const CompactEvaluation>(evaluation);
    cache_.store(leaf.key, compact);
    Node& node = *leaf.path.back().node;
    node.evaluation = std::move(compact);
    node.state = NodeState::EXPANDED;
    if (leaf.addsVisit) addEvaluationAsVisit(node);
    backUp(leaf.path, true);
    return;
  }
  symmetriesDone_.push_back(std::move(evaluation));
  if (static_cast<int>(symmetriesDone_.size()) < symmetriesWanted_) return;
  auto compact = std::make_shared<const CompactEvaluation>(averageOf(symmetriesDone_));
  if (symmetriesWanted_ == 1) cache_.store(leaf.key, compact);
  setRootEvaluation(std::move(compact));
}

// ---------------------------------------------------------------- state

int64_t Search::rootVisits() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return root_->stats.visits;
}

int Search::inFlight() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return inFlight_;
}

bool Search::isDone(int64_t maxVisits) const {
  std::lock_guard<std::mutex> lock(mutex_);
  return inFlight_ == 0 && symmetriesToDo_.empty() && root_->stats.visits >= maxVisits;
}

int64_t Search::nodeCount() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return table_.size() + 1;
}

SearchCounts Search::counts() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return counts_;
}

int64_t Search::virtualLosses() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return table_.virtualLosses() + root_->virtualLosses;
}

}  // namespace katago_agent
