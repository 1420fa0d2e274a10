// Parameters of a search, by KataGo's names and with the defaults of its GTP engine (cpp/program/setup.cpp). Ranges are checked by
// agent/engine/search_params.py, which must name the same parameters; a test compares the two.
#pragma once

namespace katago_agent {

struct SearchParams {
  // Utility: what a position is worth to White. Winning is 1, losing -1; points on top of that as tanh-like values in [-1,1].
  double winLossUtilityFactor = 1.0;
  double staticScoreUtilityFactor = 0.1;    // points, measured from an even game
  double dynamicScoreUtilityFactor = 0.3;   // points, measured from what the root expects
  double dynamicScoreCenterZeroWeight = 0.2;
  double dynamicScoreCenterScale = 0.75;
  double noResultUtilityForWhite = 0.0;
  double drawEquivalentWinsForWhite = 0.5;

  // Exploration.
  double cpuctExploration = 1.0;
  double cpuctExplorationLog = 0.45;
  double cpuctExplorationBase = 500.0;
  double cpuctUtilityStdevPrior = 0.40;
  double cpuctUtilityStdevPriorWeight = 2.0;
  double cpuctUtilityStdevScale = 0.85;
  double fpuReductionMax = 0.2;
  double fpuLossProp = 0.0;
  bool fpuParentWeightByVisitedPolicy = true;
  double fpuParentWeightByVisitedPolicyPow = 2.0;
  double fpuParentWeight = 0.0;
  double policyOptimism = 1.0;
  double nnPolicyTemperature = 1.0;
  double evaluatedAs = 0;  // a number for whom a human-style network imitates: trees and cached evaluations are theirs alone
  double turnsBefore = 0;  // that the game is old before its first move, where a position was set up
  bool useGraphSearch = true;  // moves that lead to one position lead to one node
  int graphSearchRepBound = 11;  // not where the position may come again within so many moves
  bool nnRandomize = true;  // false: the network sees every position as it is, in no symmetry
  double numVirtualLossesPerThread = 1.0;
  double minPlayoutsPerThread = 8.0;  // a search of few visits is shared by few threads

  // How children are averaged.
  double valueWeightExponent = 0.25;
  bool useNoisePruning = true;
  double noisePruneUtilityScale = 0.15;
  double noisePruningCap = 1e50;
  bool useUncertainty = true;  // only with networks that tell short-term errors
  double uncertaintyCoeff = 0.25;
  double uncertaintyExponent = 1.0;
  double uncertaintyMaxWeight = 8.0;
  double subtreeValueBiasFactor = 0.45;
  double subtreeValueBiasFreeProp = 0.8;
  double subtreeValueBiasWeightExponent = 0.85;

  // The root only.
  double rootPolicyTemperature = 1.0;
  double rootPolicyTemperatureEarly = 1.0;
  double rootFpuReductionMax = 0.1;
  double rootFpuLossProp = 0.0;
  int rootNumSymmetriesToSample = 1;
  bool rootSymmetryPruning = true;
  double rootDesiredPerChildVisitsCoeff = 0.0;
  double rootPolicyOptimism = 0.2;
  double wideRootNoise = 0.0;
  double rootEndingBonusPoints = 0.5;
  bool rootPruneUselessMoves = true;

  // Choosing the move to play.
  double chosenMoveTemperature = 0.1;
  double chosenMoveTemperatureEarly = 0.5;
  double chosenMoveTemperatureHalflife = 19.0;
  double chosenMoveTemperatureOnlyBelowProb = 1.0;
  double chosenMoveSubtract = 0.0;
  double chosenMovePrune = 1.0;
  bool useLcbForSelection = true;
  double lcbStdevs = 5.0;
  double minVisitPropForLCB = 0.15;

  // Passing, history, handicap.
  bool conservativePass = true;  // as KataGo's GTP and analysis engines set it
  bool fillDameBeforePass = false;
  bool enablePassingHacks = true;
  bool enableMorePassingHacks = true;
  bool ignorePreRootHistory = false;
  bool ignoreAllHistory = false;
  double playoutDoublingAdvantage = 0.0;  // of the root's player
};

// Sets one parameter by its name; booleans take 0 and 1. False where the name is unknown.
bool setSearchParam(SearchParams& params, const char* name, double value);

// The names that `setSearchParam` takes, and the present value of each. `name` null past the end.
struct NamedParam {
  const char* name;
  double value;
};
NamedParam searchParamAt(const SearchParams& params, int index);

// Whether a tree that was grown with `a` may go on with `b`: they differ only in what the root draws at random or in the choice of
// the move to play. The advantage is not compared: which one a number stands for depends on the root (see `Search::begin`).
bool sameTree(const SearchParams& a, const SearchParams& b);

}  // namespace katago_agent
