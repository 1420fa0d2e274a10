// What values are worth: results, scores and good manners at the end of the game as one number. See search.h.
#include <cmath>

#include "score_value.h"
#include "search.h"

namespace katago_agent {

namespace {

constexpr double SURE = 0.95;  // ownership above which a point is taken as somebody's
constexpr double STATIC_SCALE = 2.0;

bool wouldCapture(const Board& board, Point p, Color c) {
  for (Point neighbor : board.adjacent(p))
    if (board.at(neighbor) == opponent(c) && board.liberties(neighbor) == 1) return true;
  return false;
}

// Whether a stone of c at p joins chains of which at least one is not pass-alive.
bool joinsUnsafeChains(const Board& board, Point p, Color c, const ColorMap& safe) {
  if (safe[p] == c) return false;
  Point unsafe = NO_POINT;
  for (Point neighbor : board.adjacent(p))
    if (board.at(neighbor) == c && safe[neighbor] == EMPTY) {
      unsafe = board.chain(neighbor);
      break;
    }
  if (unsafe == NO_POINT) return false;
  for (Point neighbor : board.adjacent(p))
    if (board.at(neighbor) == c && board.chain(neighbor) != unsafe) return true;
  return false;
}

}  // namespace

double Search::resultUtility(double winLoss, double noResult) const {
  return winLoss * params_.winLossUtilityFactor + noResult * params_.noResultUtilityForWhite;
}

double Search::scoreUtility(double scoreMean, double scoreMeanSq) const {
  double stdev = scoreStdev(scoreMean, scoreMeanSq);
  return expectedScoreValue(scoreMean, stdev, 0.0, STATIC_SCALE, sqrtArea_) * params_.staticScoreUtilityFactor +
         expectedScoreValue(scoreMean, stdev, scoreCenter_, params_.dynamicScoreCenterScale, sqrtArea_) *
             params_.dynamicScoreUtilityFactor;
}

// What `delta` points more would change. The spread of the score stays.
double Search::scoreUtilityDiff(double scoreMean, double scoreMeanSq, double delta) const {
  if (delta == 0) return 0;
  double shifted = scoreMean + delta;
  double variance = scoreMeanSq - scoreMean * scoreMean;
  return scoreUtility(shifted, shifted * shifted + variance) - scoreUtility(scoreMean, scoreMeanSq);
}

double Search::evaluationUtility(const CompactEvaluation& e) const {
  return resultUtility(e.winLoss(), e.noResult) + scoreUtility(e.whiteScoreMean, e.whiteScoreMeanSq);
}

double Search::utilityRadius() const {
  return params_.winLossUtilityFactor + params_.staticScoreUtilityFactor + params_.dynamicScoreUtilityFactor;
}

// Points for White that a root move is given or denied so that games end well: no move into settled area, except in a ko; with area
// scoring, dame and clean-up stay free; with territory scoring, a pass costs a little so that dame are filled first.
double Search::endingBonus(Point move) const {
  const SharedEvaluation& evaluation = root_->evaluation;
  if (!evaluation || params_.rootEndingBonusPoints == 0) return 0;
  const Board& board = game_.board();
  const Color player = root_->toPlay;
  const bool areaLike = game_.rules().scoring == Scoring::AREA || game_.encorePhase() >= 2;
  double points = 0;
  if (move == game_.pass()) {
    if (!areaLike)
      points = -2.0 / 3.0;
    else if (game_.hasButton())
      points = -0.5;
  } else if (board.koPoint() == NO_POINT) {
    double owner = evaluation->ownership(move);
    double own = player == WHITE ? owner : -owner;
    if (own <= -SURE) {
      if (!areaLike || !wouldCapture(board, move, player)) points = -(-SURE - own) / (1 - SURE);
    } else if (own >= SURE) {
      if (!board.isAdjacentTo(move, opponent(player)) && !joinsUnsafeChains(board, move, player, rootSafe_))
        points = -(own - SURE) / (1 - SURE);
    }
  }
  points *= params_.rootEndingBonusPoints;
  return player == WHITE ? points : -points;
}

}  // namespace katago_agent
