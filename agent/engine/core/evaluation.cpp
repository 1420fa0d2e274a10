// Follows KataGo's cpp/neuralnet/nneval.cpp; which formula belongs to which file version stands beside each.
#include "evaluation.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "features.h"

namespace katago_agent {

namespace {

constexpr float MAX_PASS_ODDS = 19.0f;  // KataGo's cap with passing hacks: pass : all other moves

// The value past which softplus is its argument to double precision.
double softplus(double x) { return x > 40.0 ? x : std::log1p(std::exp(x)); }

// Finite, and still so as the float that it is kept as.
bool fitsFloat(double x) { return std::isfinite(static_cast<float>(x)); }

bool fillPolicy(const Game& game, Color toPlay, const PostParams& params, float optimism, int symmetry, const float* logits,
                bool enablePassingHacks, float temperature, std::vector<float>& policy) {
  const int moves = game.area() + 1;
  policy.assign(moves, -1.0f);
  const float* optimistic = logits + moves;
  const bool mix = params.policyChannels >= 2 && optimism != 0.0f;
  const float scaling = 1.0f / temperature;
  float best = -1e30f;
  std::vector<float>& value = policy;
  std::array<bool, MAX_AREA + 1> legal;
  int legalCount = 0;
  for (Point p = 0; p < moves; p++) {
    legal[p] = game.isLegal(p, toPlay);
    if (!legal[p]) continue;
    const Point at = symmetryPoint(p, game.xSize(), game.ySize(), symmetry);
    value[p] = (mix ? logits[at] + (optimistic[at] - logits[at]) * optimism : logits[at]) * scaling;
    best = std::max(best, value[p]);
    legalCount++;
  }
  float sum = 0;
  for (Point p = 0; p < moves; p++) {
    if (!legal[p]) continue;
    value[p] = std::exp(value[p] - best);
    if (enablePassingHacks && p == game.pass()) value[p] = std::max(1e-20f, std::min(value[p], sum * MAX_PASS_ODDS));
    sum += value[p];
  }
  if (!std::isfinite(sum)) return false;
  for (Point p = 0; p < moves; p++)
    if (legal[p]) value[p] = sum > 0 ? value[p] / sum : 1.0f / static_cast<float>(legalCount);
  return true;
}

struct ShorttermErrors {
  double winloss;
  double score;
};

ShorttermErrors shorttermErrors(const PostParams& params, double winloss, double score) {
  if (params.version >= 14)
    return {softplus(winloss * 0.5) * std::sqrt(params.shorttermValueErrorMultiplier),
            softplus(score * 0.5) * std::sqrt(params.shorttermScoreErrorMultiplier)};
  if (params.version >= 10)
    return {std::sqrt(softplus(winloss) * params.shorttermValueErrorMultiplier),
            std::sqrt(softplus(score) * params.shorttermScoreErrorMultiplier)};
  return {softplus(winloss), softplus(score) * 10.0};  // version 9
}

bool fillValue(const Game& game, Color toPlay, const PostParams& params, const float* value, const float* score, Evaluation& out) {
  // Only rules that allow endless cycles can end without a result.
  const bool canBeVoid = game.rules().ko == KoRule::SIMPLE || game.rules().scoring == Scoring::TERRITORY;
  const double best = canBeVoid ? std::max({value[0], value[1], value[2]}) : std::max(value[0], value[1]);
  const double win = std::exp(value[0] - best);
  const double loss = std::exp(value[1] - best);
  const double none = canBeVoid ? std::exp(value[2] - best) : 0.0;
  const double sum = win + loss + none;
  const double noResult = none / sum;

  // The network speaks of games with a result; those without count as 0 points.
  const double mean = score[0] * static_cast<double>(params.scoreMeanMultiplier);
  const double stdev = softplus(score[1]) * params.scoreStdevMultiplier;
  const double meanSq = (mean * mean + stdev * stdev) * (1.0 - noResult);
  const double whiteMean = mean * (1.0 - noResult) * (toPlay == WHITE ? 1 : -1);
  const double whiteLead = score[2] * static_cast<double>(params.leadMultiplier) * (1.0 - noResult) * (toPlay == WHITE ? 1 : -1);
  const double varTime = softplus(score[3]) * params.varianceTimeMultiplier;
  if (!std::isfinite(sum) || !fitsFloat(whiteMean) || !fitsFloat(meanSq) || !fitsFloat(whiteLead) || !fitsFloat(varTime)) return false;

  out.whiteWin = static_cast<float>((toPlay == WHITE ? win : loss) / sum);
  out.whiteLoss = static_cast<float>((toPlay == WHITE ? loss : win) / sum);
  out.noResult = static_cast<float>(noResult);
  out.whiteScoreMean = static_cast<float>(whiteMean);
  out.whiteScoreMeanSq = static_cast<float>(meanSq);
  out.whiteLead = static_cast<float>(whiteLead);
  out.varTimeLeft = out.shorttermWinlossError = out.shorttermScoreError = -1;
  if (params.version < 9 || params.scoreChannels < 6) return true;
  const ShorttermErrors errors = shorttermErrors(params, score[4], score[5]);
  if (!fitsFloat(errors.winloss) || !fitsFloat(errors.score)) return false;
  out.varTimeLeft = static_cast<float>(varTime);
  out.shorttermWinlossError = static_cast<float>(errors.winloss);
  out.shorttermScoreError = static_cast<float>(errors.score);
  return true;
}

}  // namespace

bool postProcess(const Game& game, Color toPlay, const PostParams& params, float optimism, int symmetry, const float* policy,
                 const float* value, const float* score, const float* ownership, Evaluation& out, bool enablePassingHacks,
                 float policyTemperature) {
  if (!fillPolicy(game, toPlay, params, optimism, symmetry, policy, enablePassingHacks, policyTemperature, out.policy)) return false;
  if (!fillValue(game, toPlay, params, value, score, out)) return false;
  out.ownership.resize(game.area());
  for (Point p = 0; p < game.area(); p++) {
    const float own = std::tanh(ownership[symmetryPoint(p, game.xSize(), game.ySize(), symmetry)]);
    if (std::isnan(own)) return false;
    out.ownership[p] = toPlay == WHITE ? own : -own;
  }
  return true;
}

}  // namespace katago_agent
