// How much each child of a node counts in the node's value: less where it is clearly worse than its siblings or was searched far
// more than its prior asked for. Pure functions of numbers. Start at `pruneNoise`, then `downweightBad`.
#pragma once

#include <vector>

#include "node.h"
#include "search_params.h"

namespace katago_agent {

struct WeightedChild {
  const Node* node;
  double selfUtility;  // from the side of the one who chooses
  double weight;       // in: from visits; out: adjusted
  double prior;        // policy, at least 1e-30
};

// Takes weight from children that are worse than the average before them and have more than twice their share by prior.
// Returns the new sum of weights.
double pruneNoise(std::vector<WeightedChild>& children, double totalWeight, const SearchParams& params);

// Scales weights down by how unlikely each child is to be the best, keeping their sum at `totalWeight`.
void downweightBad(std::vector<WeightedChild>& children, double totalWeight, double exponent);

}  // namespace katago_agent
