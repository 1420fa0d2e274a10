#include "compact_evaluation.h"

#include <algorithm>
#include <cmath>

namespace katago_agent {

CompactEvaluation::CompactEvaluation(const Evaluation& e)
    : whiteWin(e.whiteWin),
      whiteLoss(e.whiteLoss),
      noResult(e.noResult),
      whiteScoreMean(e.whiteScoreMean),
      whiteScoreMeanSq(e.whiteScoreMeanSq),
      whiteLead(e.whiteLead),
      varTimeLeft(e.varTimeLeft),
      shorttermWinlossError(e.shorttermWinlossError),
      shorttermScoreError(e.shorttermScoreError),
      area_(static_cast<int16_t>(e.ownership.size())),
      data_(new uint16_t[2 * e.ownership.size() + 1]) {
  for (int p = 0; p <= area_; p++) {
    float probability = e.policy[p];
    data_[p] = probability < 0 ? ILLEGAL
                               : static_cast<uint16_t>(1 + std::lround(std::sqrt(std::min(probability, 1.0f)) * SQRT_SCALE));
  }
  for (int p = 0; p < area_; p++) {
    float owner = std::min(std::max(e.ownership[p], -1.0f), 1.0f);
    data_[area_ + 1 + p] = static_cast<uint16_t>(static_cast<int16_t>(std::lround(owner * OWNERSHIP_SCALE)));
  }
}

}  // namespace katago_agent
