// What the search learned about the network's mistakes: how far, for one local shape, the values found below positions lay from the
// network's own. Positions where the same shape was just played are corrected by part of it. KataGo's subtree value bias.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>

#include "game.h"

namespace katago_agent {

struct Node;
struct SearchParams;

// Weighted sum of (utility of the children - utility of the evaluation) over the nodes that share a shape.
struct BiasEntry {
  double deltaSum = 0;
  double weightSum = 0;
  double mean() const { return weightSum > 0.001 ? deltaSum / weightSum : 0.0; }
};

// One per search; guarded by its mutex.
class BiasTable {
 public:
  // The entry for playing `move` now in `game`. Null for a pass and for the first move of a game: those say nothing of a shape.
  std::shared_ptr<BiasEntry> entryFor(const Game& game, Point move);
  // Forgets shapes that no node refers to any more.
  void dropUnused();

 private:
  std::unordered_map<uint64_t, std::shared_ptr<BiasEntry>> entries_;
};

// Takes most of what a node added out of the table, before it is deleted.
void withdrawBias(Node& node, double freeProp);

}  // namespace katago_agent
