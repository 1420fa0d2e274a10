// Scores and bonuses of `Game`.
#include "area.h"
#include "game.h"

namespace katago_agent {

namespace {

int whiteMinusBlack(const ColorMap& area, int points) {
  int score = 0;
  for (Point p = 0; p < points; p++) score += area[p] == WHITE ? 1 : area[p] == BLACK ? -1 : 0;
  return score;
}

}  // namespace

int Game::handicapStones() const {
  // A set-up with white stones is a problem or a position, not a handicap.
  if (initialWhiteStones_ != 0) return 0;
  int blackMoves = 0;
  if (leadingBlackMovesAreHandicap_) {
    for (size_t i = 0; i < moves_.size(); i++) {
      if (moves_[i].color == BLACK) {
        if (moves_[i].point != pass()) blackMoves++;
        continue;
      }
      if (i + 1 < moves_.size() && moves_[i + 1].color == WHITE) {
        blackMoves = 0;  // White moves twice: somebody sets a position up
        break;
      }
      if (moves_[i].point != pass()) break;  // single white passes only fill the gaps between handicap stones
    }
  }
  const int stones = initialBlackStones_ + blackMoves;
  return stones > 1 ? stones : 0;
}

void Game::recomputeHandicapBonus() {
  if (rules_.handicapBonus == HandicapBonus::ZERO) return;
  const int stones = handicapStones();
  const bool lessOne = rules_.handicapBonus == HandicapBonus::N_MINUS_ONE && stones > 0;
  handicapBonus_ = static_cast<float>(lessOne ? stones - 1 : stones);
}

float Game::selfKomi(Color c, double drawEquivalentWinsForWhite) const {
  const bool integerKomi = static_cast<float>(static_cast<int>(komi_)) == komi_;
  const bool drawPossible = integerKomi != rules_.hasButton;
  const float drawShift = drawPossible ? static_cast<float>(drawEquivalentWinsForWhite - 0.5) : 0.0f;
  const float whiteKomi = whiteBonus_ + handicapBonus_ + komi_ + drawShift;
  return c == WHITE ? whiteKomi : -whiteKomi;
}

int Game::areaScore(ColorMap& area) const {
  int lifeRegions = 0;
  if (rules_.tax == Tax::NONE)
    area = areaOf(board_, {true, true, true, suicideForPassAlive()});
  else
    area = independentLifeArea(board_, false, true, suicideForPassAlive(), lifeRegions);
  const int score = whiteMinusBlack(area, this->area());
  return rules_.tax == Tax::ALL ? score - 2 * lifeRegions : score;
}

int Game::territoryScore(ColorMap& area) const {
  int lifeRegions = 0;
  area = independentLifeArea(board_, rules_.tax == Tax::NONE, false, suicideForPassAlive(), lifeRegions);
  for (Point p = 0; p < this->area(); p++) {
    // Stones that are nobody's independent life count where they stood when the second encore began.
    const Color stone = board_.at(p);
    if (area[p] == EMPTY && stone != EMPTY && (encorePhase_ < 2 || secondEncoreStart(p) == stone)) area[p] = stone;
  }
  const int score = whiteMinusBlack(area, this->area());
  return rules_.tax == Tax::ALL ? score - 2 * lifeRegions : score;
}

float Game::scoreNow(ColorMap& area) const {
  const int points = rules_.scoring == Scoring::AREA ? areaScore(area) : territoryScore(area);
  const float button = !hasButton_ ? 0.0f : toPlay_ == WHITE ? 0.5f : -0.5f;
  return static_cast<float>(points) + whiteBonus_ + button + handicapBonus_ + komi_;
}

float Game::finalWhiteScore() const {
  if (isFinished_) return finalScore_;
  ColorMap area;
  return scoreNow(area);
}

ColorMap Game::finalArea() const {
  ColorMap area;
  scoreNow(area);
  return area;
}

void Game::endAndScore() {
  ColorMap area;
  finalScore_ = scoreNow(area);
  if (hasButton_) {
    hasButton_ = false;
    whiteBonus_ += toPlay_ == WHITE ? 0.5f : -0.5f;
  }
  isFinished_ = true;
  isNoResult_ = false;
  isPastPhaseEnd_ = false;
}

void Game::endIfAllPassAlive() {
  const ColorMap area = areaOf(board_, {false, false, false, suicideForPassAlive()});
  for (Point p = 0; p < this->area(); p++)
    if (area[p] == EMPTY) return;
  endAndScore();
  if (rules_.tax == Tax::ALL) return;
  finalScore_ = static_cast<float>(whiteMinusBlack(area, this->area())) + whiteBonus_ + handicapBonus_ + komi_;
}

}  // namespace katago_agent
