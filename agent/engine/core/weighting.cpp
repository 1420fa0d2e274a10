#include "weighting.h"

#include <algorithm>
#include <cmath>

namespace katago_agent {

namespace {

// Distribution function of Student's t with 3 degrees of freedom, in closed form.
double studentCdf3(double t) {
  double x = t / std::sqrt(3.0);
  return 0.5 + (x / (1.0 + x * x) + std::atan(x)) / 3.14159265358979323846;
}

double power(double base, double exponent) {
  return exponent == 0.25 ? std::sqrt(std::sqrt(base)) : std::pow(base, exponent);
}

}  // namespace

double pruneNoise(std::vector<WeightedChild>& children, double totalWeight, const SearchParams& params) {
  if (children.size() <= 1 || totalWeight <= 0.00001) return totalWeight;
  double utilitySum = 0;
  double weightSum = 0;
  double priorSum = 0;
  for (WeightedChild& child : children) {
    if (weightSum > 0 && priorSum > 0) {
      double gap = utilitySum / weightSum - child.selfUtility;
      double lenientShare = 2.0 * weightSum * child.prior / priorSum;
      if (gap > 0 && child.weight > lenientShare) {
        double excess = child.weight - lenientShare;
        child.weight -= std::min(excess * (1.0 - std::exp(-gap / params.noisePruneUtilityScale)), params.noisePruningCap);
      }
    }
    utilitySum += child.selfUtility * child.weight;
    weightSum += child.weight;
    priorSum += child.prior;
  }
  return weightSum;
}

void downweightBad(std::vector<WeightedChild>& children, double totalWeight, double exponent) {
  if (children.empty() || totalWeight <= 0.0 || exponent == 0) return;
  double utilitySum = 0;
  for (const WeightedChild& child : children) utilitySum += child.selfUtility * child.weight;
  const double average = utilitySum / totalWeight;
  double sum = 0;
  for (WeightedChild& child : children) {
    // The spread that a value of so much weight may still have; the constants are KataGo's.
    double stdev = std::sqrt(0.00000001 + 1.0 / (1.5 * std::sqrt(child.weight)));
    double chance = studentCdf3((child.selfUtility - average) / stdev) + 0.0001;
    child.weight *= power(chance, exponent);
    sum += child.weight;
  }
  const double factor = totalWeight / sum;
  for (WeightedChild& child : children) child.weight *= factor;
}

}  // namespace katago_agent
