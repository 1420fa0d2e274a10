// An evaluation as the tree and the cache keep it: about 1.5 kB on 19x19 instead of 2.9 kB. Immutable once made, shared by both.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "evaluation.h"

namespace katago_agent {

class CompactEvaluation {
 public:
  explicit CompactEvaluation(const Evaluation& evaluation);

  // As in `Evaluation`.
  float whiteWin, whiteLoss, noResult;
  float whiteScoreMean, whiteScoreMeanSq, whiteLead;
  float varTimeLeft, shorttermWinlossError, shorttermScoreError;

  int area() const { return area_; }
  double winLoss() const { return static_cast<double>(whiteWin) - whiteLoss; }

  // Probability of a move, -1 where illegal. `p` is 0..area (the pass).
  float policy(Point p) const { return decode(data_[p]); }
  bool isLegal(Point p) const { return data_[p] != ILLEGAL; }
  // Grows with the probability and is 0 for an illegal move: for finding the best without decoding.
  uint16_t policyOrder(Point p) const { return data_[p]; }
  // 1 White, -1 Black. `p` is 0..area-1.
  float ownership(Point p) const { return static_cast<int16_t>(data_[area_ + 1 + p]) * (1.0f / OWNERSHIP_SCALE); }

  size_t sizeBytes() const { return sizeof(*this) + (2 * area_ + 1) * sizeof(uint16_t); }

 private:
  // A probability p is kept as 1 + round(sqrt(p) * SQRT_SCALE): absolute error below 1.6e-5, and 1 % relative at 1e-6.
  static constexpr uint16_t ILLEGAL = 0;
  static constexpr float SQRT_SCALE = 65534.0f;
  static constexpr float OWNERSHIP_SCALE = 32767.0f;
  static float decode(uint16_t code) {
    if (code == ILLEGAL) return -1.0f;
    float root = static_cast<float>(code - 1) * (1.0f / SQRT_SCALE);
    return root * root;
  }

  int16_t area_;
  std::unique_ptr<uint16_t[]> data_;  // area + 1 policy codes, pass last, then area ownership values as int16
};

using SharedEvaluation = std::shared_ptr<const CompactEvaluation>;

}  // namespace katago_agent
