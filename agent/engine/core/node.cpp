#include "node.h"

namespace katago_agent {

const Edge* Node::edgeOf(Point p) const {
  for (const Edge& edge : edges)
    if (edge.move == p) return &edge;
  return nullptr;
}

}  // namespace katago_agent
