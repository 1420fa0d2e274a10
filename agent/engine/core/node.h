// A node of the search tree: a position after a move, what was found below it, and its children in the order of first visit.
//
// A tree, not a graph: each node has one parent, transpositions meet only in the evaluation cache. All values are from White's
// side. No locks here: Search guards the tree with one mutex, which costs nothing beside an evaluation of 20 ms and more.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "compact_evaluation.h"

namespace katago_agent {

struct BiasEntry;

// Averages over the subtree, weighted; `weightSum` is how much there is to average. Each visit weighs about 1.
struct NodeStats {
  int64_t visits = 0;
  double winLoss = 0;      // -1..1
  double noResult = 0;     // 0..1
  double scoreMean = 0;    // points
  double scoreMeanSq = 0;  // points squared
  double lead = 0;         // points
  double utility = 0;
  double utilitySq = 0;
  double weightSum = 0;
  double weightSqSum = 0;
};

enum class NodeState : uint8_t { UNEVALUATED, EVALUATING, EXPANDED };

struct Node {
  Node(Point move_, Color toPlay_) : move(move_), toPlay(toPlay_) {}
  ~Node();
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  // The part of this node's weight that visits through its parent's edge account for. Visits that did not count for the parent
  // (weightless ones, see puct.cpp) make `stats.visits` larger than `edgeVisits`.
  double edgeWeight() const { return stats.weightSum * edgeShare(); }
  double edgeWeightSq() const { return stats.weightSqSum * edgeShare(); }
  double edgeShare() const {
    return static_cast<double>(edgeVisits) / static_cast<double>(stats.visits > 1 ? stats.visits : 1);
  }
  Node* childAt(Point p) const;

  NodeStats stats;
  SharedEvaluation evaluation;  // null until evaluated and at ends of the game
  std::vector<std::unique_ptr<Node>> children;
  std::shared_ptr<BiasEntry> bias;  // see subtree_bias.h; null where it does not apply
  double biasDelta = 0;             // what this node last added to it
  double biasWeight = 0;
  int64_t edgeVisits = 0;
  int32_t virtualLosses = 0;
  Point move;    // that led here; NO_POINT at the root of a fresh tree
  Color toPlay;  // after it
  NodeState state = NodeState::UNEVALUATED;
  bool forceNonTerminal = false;  // the search goes on here although the rules ended the game
};

// Nodes in the subtree, itself included.
int64_t countNodes(const Node& root);

}  // namespace katago_agent
