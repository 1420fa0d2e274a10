// Owns the nodes of a search graph but its root, and finds the one that stands for a position.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <unordered_map>
#include <vector>

#include "node.h"

namespace katago_agent {

class NodeTable {
 public:
  struct Found {
    Node& node;
    bool isNew;
  };
  // The node of the position with `key`. One that must not end (see Node::forceNonTerminal) is another than one that may.
  Found nodeFor(const Hash128& key, Color toPlay, bool forceNonTerminal);
  // A new node that no other move will find.
  Found newNode(const Hash128& key, Color toPlay, bool forceNonTerminal);
  // Deletes what cannot be reached from `root`, after a last call of `leaving` with each.
  void keepReachable(Node& root, const std::function<void(Node&)>& leaving);
  void clear() { nodes_.clear(); }

  int64_t size() const { return static_cast<int64_t>(nodes_.size()); }
  int64_t virtualLosses() const;

 private:
  struct KeyHash {
    size_t operator()(const Hash128& key) const { return static_cast<size_t>(key.low); }
  };

  Found addNode(const Hash128& place, const Hash128& key, Color toPlay, bool forceNonTerminal);

  std::unordered_map<Hash128, std::unique_ptr<Node>, KeyHash> nodes_;
  uint64_t alone_ = 0;  // nodes so far that no other move finds
};

// `root` and all nodes below it, each once and after those below it (but for the last step of a circle).
std::vector<Node*> childrenFirst(Node& root);

}  // namespace katago_agent
