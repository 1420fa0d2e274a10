// A node of the search graph: a position, what was found below it, and the moves tried there in the order of their first visit.
//
// A graph, not a tree: moves that lead to one position lead to one node (graph_key.h says which positions are one), so a move's own
// share of visits stands in the edge and not in the node. NodeTable owns all nodes but the root. All values are from White's side.
// No locks here: Search guards the graph with one mutex, which costs nothing beside an evaluation of 20 ms and more.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "compact_evaluation.h"

namespace katago_agent {

struct BiasEntry;
struct Node;

// Averages over what lies below, weighted; `weightSum` is how much there is to average. Each visit weighs about 1.
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

// A move that was tried, and the node that it leads to.
struct Edge {
  Node* node;
  Point move;
  // Playouts through this move. The node has more visits where other moves lead to it, too, and where visits did not count for the
  // move (weightless ones, see puct.cpp); fewer only after a playout went in a circle.
  int64_t visits = 0;

  // The part of the node's weight that these visits account for.
  double weight() const;
  double weightSq() const;
  double share() const;
};

struct Node {
  Node(const Hash128& key_, Color toPlay_) : key(key_), toPlay(toPlay_) {}

  const Edge* edgeOf(Point p) const;

  NodeStats stats;
  SharedEvaluation evaluation;  // null until evaluated and at ends of the game
  std::vector<Edge> edges;
  std::shared_ptr<BiasEntry> bias;  // see subtree_bias.h; null where it does not apply
  double biasDelta = 0;             // what this node last added to it
  double biasWeight = 0;
  Hash128 key;  // see graph_key.h
  int32_t virtualLosses = 0;
  Color toPlay;
  NodeState state = NodeState::UNEVALUATED;
  bool forceNonTerminal = false;  // the search goes on here although the rules ended the game
};

inline double Edge::share() const {
  return static_cast<double>(visits) / static_cast<double>(node->stats.visits > 1 ? node->stats.visits : 1);
}
inline double Edge::weight() const { return node->stats.weightSum * share(); }
inline double Edge::weightSq() const { return node->stats.weightSqSum * share(); }

}  // namespace katago_agent
