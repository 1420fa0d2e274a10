#include "node_table.h"

#include <unordered_set>

namespace katago_agent {

namespace {

const Hash128 MUST_NOT_END = {0x6a09e667f3bcc908ULL, 0xbb67ae8584caa73bULL};  // square roots of 2 and 3, as in SHA-512
// Never the high half of a position's key but by chance, which is 2^-64.
constexpr uint64_t ALONE = 0x3c6ef372fe94f82bULL;

}  // namespace

NodeTable::Found NodeTable::nodeFor(const Hash128& key, Color toPlay, bool forceNonTerminal) {
  const Hash128 place = forceNonTerminal ? key ^ MUST_NOT_END : key;
  const auto known = nodes_.find(place);
  if (known == nodes_.end()) return addNode(place, key, toPlay, forceNonTerminal);
  if (known->second->toPlay == toPlay) return {*known->second, false};
  return newNode(key, toPlay, forceNonTerminal);  // two positions with one hash: keep them apart
}

NodeTable::Found NodeTable::newNode(const Hash128& key, Color toPlay, bool forceNonTerminal) {
  return addNode(Hash128{alone_++, ALONE}, key, toPlay, forceNonTerminal);
}

NodeTable::Found NodeTable::addNode(const Hash128& place, const Hash128& key, Color toPlay, bool forceNonTerminal) {
  auto made = std::make_unique<Node>(key, toPlay);
  Node& node = *made;
  node.forceNonTerminal = forceNonTerminal;
  nodes_.emplace(place, std::move(made));
  return {node, true};
}

void NodeTable::keepReachable(Node& root, const std::function<void(Node&)>& leaving) {
  std::unordered_set<const Node*> kept;
  for (const Node* node : childrenFirst(root)) kept.insert(node);
  for (auto entry = nodes_.begin(); entry != nodes_.end();) {
    if (kept.count(entry->second.get()) > 0) {
      ++entry;
      continue;
    }
    leaving(*entry->second);
    entry = nodes_.erase(entry);
  }
}

int64_t NodeTable::virtualLosses() const {
  int64_t sum = 0;
  for (const auto& entry : nodes_) sum += entry.second->virtualLosses;
  return sum;
}

// With a list instead of recursion: lines of play can be longer than a thread's stack is deep.
std::vector<Node*> childrenFirst(Node& root) {
  struct Visit {
    Node* node;
    size_t next;
  };
  std::vector<Node*> order;
  std::unordered_set<const Node*> seen = {&root};
  std::vector<Visit> path = {{&root, 0}};
  while (!path.empty()) {
    Visit& top = path.back();
    if (top.next == top.node->edges.size()) {
      order.push_back(top.node);
      path.pop_back();
      continue;
    }
    Node* below = top.node->edges[top.next++].node;
    if (seen.insert(below).second) path.push_back({below, 0});
  }
  return order;
}

}  // namespace katago_agent
