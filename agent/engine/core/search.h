// PUCT search of one game, driven from outside: `select` hands out positions to evaluate, `deliver` takes the answers.
//
// Start reading at `Search::begin` (root.cpp), which prepares a search; then `Search::select` (search.cpp), which walks from the root
// by `Search::chooseChild` (puct.cpp) to a leaf; then `Search::deliver`, which adds the leaf's value and walks back up by
// `Search::recompute` (backup.cpp); last report.cpp and move_selector.cpp, which read a finished or running search.
//
// The state is `root_` and the nodes below it (see node.h), the game at the root, and the leaves that are out for evaluation. One mutex guards all of it;
// encoding and reading network outputs, the costly parts, run outside. No clock here and no threads: callers bring both, and a
// random seed. All values are from White's side unless a name says self.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "eval_cache.h"
#include "evaluation.h"
#include "features.h"
#include "game.h"
#include "node.h"
#include "node_table.h"
#include "random.h"
#include "search_params.h"
#include "subtree_bias.h"
#include "weighting.h"

namespace katago_agent {

// What the search cost so far, since `begin`. `visits` counts what counts towards a limit; the other three say what each playout
// ended with: a network run, a cached evaluation, or the end of a game. Evaluations also count where they add no visit (more
// symmetries of the root, a new root evaluation of a reused tree).
struct SearchCounts {
  int64_t visits = 0;
  int64_t evaluations = 0;
  int64_t cacheHits = 0;
  int64_t terminal = 0;
};

// Up to which depth each point may not be played, by colour (index Color - 1) and point (area + 1, pass last). Depth 0 is the
// root's own move. Empty vectors where nothing is forbidden.
struct MoveLimits {
  std::vector<int> untilDepth[2];
  bool forbids(Color c, Point p, int depth) const {
    const std::vector<int>& limits = untilDepth[c - 1];
    return !limits.empty() && depth < limits[p];
  }
  bool any() const { return !untilDepth[0].empty() || !untilDepth[1].empty(); }
};

class Search {
 public:
  // `preferPassAlive` as the network's file says (see Game::setPassAliveUnderSuicide). `cache` may be shared by any number of
  // searches and must outlive them. `seed` decides symmetries and random draws.
  Search(const PostParams& network, bool preferPassAlive, EvalCache& cache, uint64_t seed);
  ~Search();

  // ------------------------------------------------------------ one search. None of these while leaves are out.
  // Forgets the tree and takes a new game; a `toPlay` that is not the side to move restarts the game's history.
  void setGame(const Game& game, Color toPlay);
  // Plays one move of the game and keeps what the tree knows below it. Requires a legal or tolerated move by the side to play.
  void advance(Point move, bool preventEncore);
  // Prepares to search on. Keeps the tree where `params` and `limits` allow it. Returns the visits that the root has already.
  int64_t begin(const SearchParams& params, const MoveLimits& limits);

  // ------------------------------------------------------------ the loop. From any number of threads.
  // Walks to at most `maxLeaves` positions that need the network and encodes them, one after the other, into `spatial` [n][22][y][x]
  // and `global` [n][19]; `leaves` gets n ids for `deliver`. Visits that end at cached or finished positions are done at once. Gives
  // fewer where the search knows little so far, and starts no playout that would bring the root past `maxVisits`. Returns n; 0 where
  // nothing can be had now, MADE_PROGRESS where visits were done but none needs the network so far: call again.
  static constexpr int MADE_PROGRESS = -1;
  int select(int maxLeaves, int64_t maxVisits, float* spatial, float* global, int* leaves);
  // Takes raw outputs of n leaves as the network gives them (layouts in evaluation.h, leaf after leaf). False when one was not
  // finite; its playout is undone, the others count. Where one cannot be taken for want of memory, likewise, and std::bad_alloc is
  // thrown after the last: none of the n is out any more.
  bool deliver(int n, const int* leaves, const float* policy, const float* value, const float* score, const float* ownership);
  // Undoes the playouts of n leaves that will never be evaluated.
  void abandon(int n, const int* leaves);

  // ------------------------------------------------------------ state
  int64_t rootVisits() const;
  int inFlight() const;
  // True when `maxVisits` are reached and nothing is out.
  bool isDone(int64_t maxVisits) const;
  int64_t nodeCount() const;
  SearchCounts counts() const;
  // Sum over all nodes; 0 whenever nothing is in flight.
  int64_t virtualLosses() const;
  const Game& game() const { return game_; }

 private:
  friend class MoveSelector;
  friend class ReportBuilder;

  struct Step {
    Node* node;
    int edge = -1;                // index among the edges of the step before; none at the root
    bool countsForParent = true;  // false: a weightless visit, seen by the node alone
  };
  struct Leaf {
    explicit Leaf(const Game& g) : game(g) {}
    Game game;
    std::vector<Step> path;  // from the root to the leaf
    Hash128 key;
    EncodeOptions options;
    int symmetry = 0;
    bool addsVisit = true;      // false: evaluates a node again: the root, for more symmetries or new options, or for other legal moves
    bool countsPlayout = true;  // towards maxVisits
    bool inUse = false;
  };
  // Where to go from a node: an index into its edges, or one past them for a new one by `move`; -1 where no move is.
  struct Choice {
    int index = -1;
    Point move = NO_POINT;
    bool countsEdge = true;
  };
  enum class Walk { LEAF, DONE, COLLISION };

  // root.cpp
  void clearTree();
  void dropUnreachable();
  bool dropRootEdges();
  void setScoreCenter(double expectedScore);
  double fromEarly(double early, double late) const;
  void makeRootPolicy();
  void findRootSymmetries();
  static Evaluation averageOf(const std::vector<Evaluation>& all);
  void setRootEvaluation(SharedEvaluation evaluation);

  // search.cpp
  int takeLeaf();
  Walk walk(Leaf& leaf);
  Edge& follow(Leaf& leaf, Node& node, const Choice& choice);
  Walk arrive(Leaf& leaf, Node& node);
  Walk handOut(Leaf& leaf, Node& node, bool addsVisit);
  bool mayStart(int64_t maxVisits) const;
  bool mayFillBatch() const;
  Leaf& leafOf(int id);
  void giveUp(Leaf& leaf);
  void release(Leaf& leaf);
  void finish(Leaf& leaf, Evaluation&& evaluation);
  EncodeOptions optionsFor(const Game& game, bool isRoot) const;

  // puct.cpp
  Choice chooseChild(const Node& node, const Game& game, int depth);
  bool isAllowedAtRoot(Point move) const;
  double policyOf(const Node& node, Point p) const;
  double exploreScaling(double totalChildWeight, double stdevFactor) const;
  struct FirstPlay {
    double utility;         // of a child never visited
    double weightPerVisit;  // of the parent
    double stdevFactor;
  };
  FirstPlay firstPlay(const Node& node, bool isRoot, double visitedPolicy) const;
  double selectionValue(const Node& node, const Edge& edge, double scaling, double totalChildWeight, const FirstPlay& first,
                        bool isRoot, bool countsEdge, bool duringSearch);
  void addWideRootNoise(double& utility, double& prior, Color player);
  void forcePassOrOther(const Node& node, const Game& game, Point bestNew, int64_t edgeVisits, Choice& choice) const;

  // backup.cpp
  void addLeafValue(Node& node, double winLoss, double noResult, double scoreMean, double scoreMeanSq, double lead, double weight,
                    bool isTerminal);
  void addEvaluationAsVisit(Node& node);
  void addTerminalVisit(Node& node, const Game& game);
  void backUp(const std::vector<Step>& path, bool lastCounts);
  void undo(const std::vector<Step>& path);
  void recompute(Node& node, int newVisits);
  void recomputeAll();
  double evaluationWeight(const CompactEvaluation& evaluation) const;

  // utility.cpp
  double resultUtility(double winLoss, double noResult) const;
  double scoreUtility(double scoreMean, double scoreMeanSq) const;
  double scoreUtilityDiff(double scoreMean, double scoreMeanSq, double delta) const;
  double evaluationUtility(const CompactEvaluation& evaluation) const;
  double utilityRadius() const;
  double endingBonus(Point move) const;
  bool usesUncertainty() const { return params_.useUncertainty && network_.version >= 9; }

  const PostParams network_;
  const bool preferPassAlive_;
  EvalCache& cache_;
  const uint64_t seed_;

  mutable std::mutex mutex_;
  SearchParams params_;
  double whiteAdvantage_ = 0;  // White's playoutDoublingAdvantage, with which the tree was evaluated
  MoveLimits limits_;
  Random random_;
  Game game_;
  std::unique_ptr<Node> root_;  // in no table: nothing leads back to it
  NodeTable table_;
  BiasTable bias_;
  SearchCounts counts_;

  // Of the root, set by `begin` and by its evaluation.
  std::vector<float> rootPolicy_;      // area + 1; with root temperature; -1 illegal. Empty until evaluated.
  std::vector<bool> rootDuplicate_;    // area; moves that are a symmetry of another
  std::vector<int> rootSymmetries_;    // under which the root position does not change; 0 first
  std::vector<int> symmetriesToDo_;    // still to hand out for the root's evaluation
  std::vector<Evaluation> symmetriesDone_;
  int symmetriesWanted_ = 1;
  ColorMap rootSafe_;                  // pass-alive area
  double scoreCenter_ = 0;             // points; recentScoreCenter of KataGo
  double sqrtArea_ = 19;
  uint64_t evaluationKey_ = 0;         // nnPolicyTemperature and evaluatedAs as a part of cache keys; 0 for none

  std::vector<WeightedChild> children_;  // of `recompute` alone

  std::vector<std::unique_ptr<Leaf>> leaves_;
  int inFlight_ = 0;          // leaves out
  int inFlightPlayouts_ = 0;  // of these, those that will count towards maxVisits
  int instantSinceDelivery_ = 0;
};

}  // namespace katago_agent
