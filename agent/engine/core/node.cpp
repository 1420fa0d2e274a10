#include "node.h"

#include "subtree_bias.h"

namespace katago_agent {

// Takes the subtree apart with a list instead of recursion: lines of play can be longer than a thread's stack is deep.
Node::~Node() {
  std::vector<std::unique_ptr<Node>> pending = std::move(children);
  while (!pending.empty()) {
    std::unique_ptr<Node> node = std::move(pending.back());
    pending.pop_back();
    for (auto& child : node->children) pending.push_back(std::move(child));
    node->children.clear();
  }
}

Node* Node::childAt(Point p) const {
  for (const auto& child : children)
    if (child->move == p) return child.get();
  return nullptr;
}

int64_t countNodes(const Node& root) {
  int64_t count = 0;
  std::vector<const Node*> pending = {&root};
  while (!pending.empty()) {
    const Node* node = pending.back();
    pending.pop_back();
    count++;
    for (const auto& child : node->children) pending.push_back(child.get());
  }
  return count;
}

}  // namespace katago_agent
