#include "search_params.h"

#include <cmath>
#include <cstring>

namespace katago_agent {

namespace {

template <typename T>
struct Member {
  const char* name;
  T SearchParams::*member;
};

constexpr Member<double> DOUBLES[] = {
    {"winLossUtilityFactor", &SearchParams::winLossUtilityFactor},
    {"staticScoreUtilityFactor", &SearchParams::staticScoreUtilityFactor},
    {"dynamicScoreUtilityFactor", &SearchParams::dynamicScoreUtilityFactor},
    {"dynamicScoreCenterZeroWeight", &SearchParams::dynamicScoreCenterZeroWeight},
    {"dynamicScoreCenterScale", &SearchParams::dynamicScoreCenterScale},
    {"noResultUtilityForWhite", &SearchParams::noResultUtilityForWhite},
    {"drawEquivalentWinsForWhite", &SearchParams::drawEquivalentWinsForWhite},
    {"cpuctExploration", &SearchParams::cpuctExploration},
    {"cpuctExplorationLog", &SearchParams::cpuctExplorationLog},
    {"cpuctExplorationBase", &SearchParams::cpuctExplorationBase},
    {"cpuctUtilityStdevPrior", &SearchParams::cpuctUtilityStdevPrior},
    {"cpuctUtilityStdevPriorWeight", &SearchParams::cpuctUtilityStdevPriorWeight},
    {"cpuctUtilityStdevScale", &SearchParams::cpuctUtilityStdevScale},
    {"fpuReductionMax", &SearchParams::fpuReductionMax},
    {"fpuLossProp", &SearchParams::fpuLossProp},
    {"fpuParentWeightByVisitedPolicyPow", &SearchParams::fpuParentWeightByVisitedPolicyPow},
    {"fpuParentWeight", &SearchParams::fpuParentWeight},
    {"policyOptimism", &SearchParams::policyOptimism},
    {"nnPolicyTemperature", &SearchParams::nnPolicyTemperature},
    {"evaluatedAs", &SearchParams::evaluatedAs},
    {"turnsBefore", &SearchParams::turnsBefore},
    {"numVirtualLossesPerThread", &SearchParams::numVirtualLossesPerThread},
    {"minPlayoutsPerThread", &SearchParams::minPlayoutsPerThread},
    {"valueWeightExponent", &SearchParams::valueWeightExponent},
    {"noisePruneUtilityScale", &SearchParams::noisePruneUtilityScale},
    {"noisePruningCap", &SearchParams::noisePruningCap},
    {"uncertaintyCoeff", &SearchParams::uncertaintyCoeff},
    {"uncertaintyExponent", &SearchParams::uncertaintyExponent},
    {"uncertaintyMaxWeight", &SearchParams::uncertaintyMaxWeight},
    {"subtreeValueBiasFactor", &SearchParams::subtreeValueBiasFactor},
    {"subtreeValueBiasFreeProp", &SearchParams::subtreeValueBiasFreeProp},
    {"subtreeValueBiasWeightExponent", &SearchParams::subtreeValueBiasWeightExponent},
    {"rootPolicyTemperature", &SearchParams::rootPolicyTemperature},
    {"rootPolicyTemperatureEarly", &SearchParams::rootPolicyTemperatureEarly},
    {"rootFpuReductionMax", &SearchParams::rootFpuReductionMax},
    {"rootFpuLossProp", &SearchParams::rootFpuLossProp},
    {"rootDesiredPerChildVisitsCoeff", &SearchParams::rootDesiredPerChildVisitsCoeff},
    {"rootPolicyOptimism", &SearchParams::rootPolicyOptimism},
    {"wideRootNoise", &SearchParams::wideRootNoise},
    {"rootEndingBonusPoints", &SearchParams::rootEndingBonusPoints},
    {"chosenMoveTemperature", &SearchParams::chosenMoveTemperature},
    {"chosenMoveTemperatureEarly", &SearchParams::chosenMoveTemperatureEarly},
    {"chosenMoveTemperatureHalflife", &SearchParams::chosenMoveTemperatureHalflife},
    {"chosenMoveTemperatureOnlyBelowProb", &SearchParams::chosenMoveTemperatureOnlyBelowProb},
    {"chosenMoveSubtract", &SearchParams::chosenMoveSubtract},
    {"chosenMovePrune", &SearchParams::chosenMovePrune},
    {"lcbStdevs", &SearchParams::lcbStdevs},
    {"minVisitPropForLCB", &SearchParams::minVisitPropForLCB},
    {"playoutDoublingAdvantage", &SearchParams::playoutDoublingAdvantage},
};

constexpr Member<bool> BOOLS[] = {
    {"fpuParentWeightByVisitedPolicy", &SearchParams::fpuParentWeightByVisitedPolicy},
    {"useGraphSearch", &SearchParams::useGraphSearch},
    {"nnRandomize", &SearchParams::nnRandomize},
    {"useNoisePruning", &SearchParams::useNoisePruning},
    {"useUncertainty", &SearchParams::useUncertainty},
    {"rootSymmetryPruning", &SearchParams::rootSymmetryPruning},
    {"rootPruneUselessMoves", &SearchParams::rootPruneUselessMoves},
    {"useLcbForSelection", &SearchParams::useLcbForSelection},
    {"conservativePass", &SearchParams::conservativePass},
    {"fillDameBeforePass", &SearchParams::fillDameBeforePass},
    {"enablePassingHacks", &SearchParams::enablePassingHacks},
    {"enableMorePassingHacks", &SearchParams::enableMorePassingHacks},
    {"ignorePreRootHistory", &SearchParams::ignorePreRootHistory},
    {"ignoreAllHistory", &SearchParams::ignoreAllHistory},
};

constexpr Member<int> INTS[] = {
    {"graphSearchRepBound", &SearchParams::graphSearchRepBound},
    {"rootNumSymmetriesToSample", &SearchParams::rootNumSymmetriesToSample},
};

// What may change without making a tree's statistics wrong; of the advantage see `sameTree`.
constexpr const char* ROOT_ONLY[] = {
    "wideRootNoise",        "chosenMoveTemperature",          "chosenMoveTemperatureEarly",
    "chosenMoveSubtract",   "chosenMoveTemperatureHalflife",  "chosenMoveTemperatureOnlyBelowProb",
    "chosenMovePrune",      "useLcbForSelection",             "lcbStdevs",
    "minVisitPropForLCB",   "minPlayoutsPerThread",           "fillDameBeforePass",
    "playoutDoublingAdvantage",
};

bool isRootOnly(const char* name) {
  for (const char* other : ROOT_ONLY)
    if (std::strcmp(name, other) == 0) return true;
  return false;
}

}  // namespace

bool setSearchParam(SearchParams& params, const char* name, double value) {
  for (const auto& entry : DOUBLES)
    if (std::strcmp(entry.name, name) == 0) return params.*entry.member = value, true;
  for (const auto& entry : BOOLS)
    if (std::strcmp(entry.name, name) == 0) return params.*entry.member = value != 0, true;
  for (const auto& entry : INTS)
    if (std::strcmp(entry.name, name) == 0) return params.*entry.member = static_cast<int>(std::lround(value)), true;
  return false;
}

NamedParam searchParamAt(const SearchParams& params, int index) {
  for (const auto& entry : DOUBLES)
    if (index-- == 0) return {entry.name, params.*entry.member};
  for (const auto& entry : BOOLS)
    if (index-- == 0) return {entry.name, params.*entry.member ? 1.0 : 0.0};
  for (const auto& entry : INTS)
    if (index-- == 0) return {entry.name, static_cast<double>(params.*entry.member)};
  return {nullptr, 0.0};
}

bool sameTree(const SearchParams& a, const SearchParams& b) {
  for (int index = 0;; index++) {
    NamedParam left = searchParamAt(a, index);
    if (left.name == nullptr) return true;
    if (left.value != searchParamAt(b, index).value && !isRootOnly(left.name)) return false;
  }
}

}  // namespace katago_agent
