#include "game.h"

#include <algorithm>

#include "zobrist.h"

namespace katago_agent {

Game::Game(int xSize, int ySize, const Rules& rules, float komi) : board_(xSize, ySize), rules_(rules), komi_(komi) {
  restart(BLACK);
}

void Game::addStones(const std::vector<Move>& stones) {
  for (const Move& stone : stones) board_.setStone(stone.point, stone.color);
  restart(toPlay_);
}

void Game::restart(Color player) {
  board_.clearKo();
  toPlay_ = player;
  endingPasses_ = 0;
  hasButton_ = rules_.hasButton && encorePhase_ == 0;
  whiteHasMoved_ = false;
  isFinished_ = isNoResult_ = isPastPhaseEnd_ = false;
  finalScore_ = 0;
  turnsThisPhase_ = validTurnsThisPhase_ = consecutiveValidTurns_ = 0;
  moves_.clear();
  previous_[0] = previous_[1] = snapshot();
  everOccupied_.reset();
  initialBlackStones_ = initialWhiteStones_ = 0;
  for (Point p = 0; p < area(); p++) {
    if (board_.at(p) == EMPTY) continue;
    everOccupied_.set(p);
    (board_.at(p) == BLACK ? initialBlackStones_ : initialWhiteStones_)++;
  }
  secondEncoreStart_ = encorePhase_ == 2 ? std::make_shared<const ColorMap>(board_.colors()) : nullptr;
  forgetRepetition();
  koHashes_.push_back(koHash(toPlay_));
  whiteBonus_ = 0;
  if (rules_.scoring == Scoring::TERRITORY) {
    // A stone costs its player a point, whether it still stands or was captured.
    const int blackPlayed = initialBlackStones_ + board_.captured(BLACK);
    const int whitePlayed = initialWhiteStones_ + board_.captured(WHITE);
    whiteBonus_ = static_cast<float>(blackPlayed - whitePlayed);
  }
  recomputeHandicapBonus();
}

Game::Snapshot Game::snapshot() const { return {board_.colors(), board_.koPoint(), board_.positionHash()}; }

void Game::forgetRepetition() {
  hashesBeforePass_[0].clear();
  hashesBeforePass_[1].clear();
  koRecaptureBlocked_.reset();
  koRecaptureHash_ = Hash128();
  encoreKoCaptures_.clear();
  koHashes_.clear();
}

void Game::setKomi(float komi) {
  if (isFinished_ && !isNoResult_) finalScore_ += komi - komi_;
  komi_ = komi;
}

void Game::setLeadingBlackMovesAreHandicap(bool value) {
  leadingBlackMovesAreHandicap_ = value;
  recomputeHandicapBonus();
}

// ---------------------------------------------------------------- legality

bool Game::isLegal(Point p, Color c) const {
  if (c != toPlay_ || p < 0 || p > pass()) return false;
  if (isPassForKo(p, c)) return true;
  if (encorePhase_ == 0 && board_.isKoBanned(p)) return false;
  return board_.isLegalIgnoringKo(p, c, rules_.multiStoneSuicide) && !isSuperkoBanned(p);
}

bool Game::isLegalTolerant(Point p, Color c) const {
  if ((c != BLACK && c != WHITE) || p < 0 || p > pass()) return false;
  return isPassForKo(p, c) || board_.isLegalIgnoringKo(p, c, true);
}

bool Game::isSuperkoBanned(Point p) const {
  if (p == pass()) return false;
  if (encorePhase_ > 0) {
    // In the encore each side may take a given ko in a given position only once.
    return std::any_of(encoreKoCaptures_.begin(), encoreKoCaptures_.end(), [&](const EncoreKoCapture& capture) {
      return capture.move.point == p && capture.move.color == toPlay_ && capture.before == board_.positionHash();
    });
  }
  if (rules_.ko == KoRule::SIMPLE || board_.at(p) != EMPTY || board_.isKoBanned(p)) return false;
  // A stone where none ever was makes a new position, unless it dies at once.
  if (!everOccupied_[p] && !board_.isSuicide(p, toPlay_)) return false;
  if (!board_.isLegalIgnoringKo(p, toPlay_, rules_.multiStoneSuicide)) return false;
  Hash128 after = board_.positionHashAfter(p, toPlay_);
  if (rules_.ko == KoRule::SITUATIONAL) after ^= zobrist().toPlay(opponent(toPlay_));
  return std::find(koHashes_.begin(), koHashes_.end(), after) != koHashes_.end();
}

bool Game::isPassForKo(Point p, Color c) const {
  if (encorePhase_ == 0 || p < 0 || p >= pass()) return false;
  if (board_.at(p) == opponent(c))
    return koRecaptureBlocked_[p] && board_.chainSize(p) == 1 && board_.liberties(p) == 1;
  const Point stone = board_.koCapture(p, c);
  return stone != NO_POINT && koRecaptureBlocked_[stone];
}

// ---------------------------------------------------------------- play

void Game::play(Point p, Color c, bool preventEncore) {
  if (c != toPlay_) restart(c);
  if (isFinished_ || isPastPhaseEnd_) {
    // The move goes on past an end; of the passes that led there only the last may stay in view.
    validTurnsThisPhase_ = std::min(validTurnsThisPhase_, 1);
    consecutiveValidTurns_ = std::min(consecutiveValidTurns_, 1);
  }
  const bool legal = isLegal(p, c);
  isFinished_ = isPastPhaseEnd_ = isNoResult_ = false;
  finalScore_ = 0;

  const Snapshot before = snapshot();
  bool passRepeats = false;
  bool passedForKo = false;
  if (p == pass()) {
    passRepeats = playPass(c);
  } else {
    endingPasses_ = 0;
    passedForKo = playPassForKo(p, c);
    if (!passedForKo) playOnBoard(p, c);
    everOccupied_.set(p);
  }
  previous_[1] = previous_[0];
  previous_[0] = before;
  toPlay_ = opponent(c);
  koHashes_.push_back(koHash(toPlay_));
  moves_.push_back({p, c});
  turnsThisPhase_++;
  validTurnsThisPhase_++;
  consecutiveValidTurns_ = legal ? consecutiveValidTurns_ + 1 : 0;

  if (p != pass() && !passedForKo && rules_.scoring == Scoring::TERRITORY && encorePhase_ <= 1)
    whiteBonus_ += c == BLACK ? 1.0f : -1.0f;
  if (c == WHITE && p != pass()) whiteHasMoved_ = true;
  if (c == BLACK && !whiteHasMoved_ && leadingBlackMovesAreHandicap_) recomputeHandicapBonus();

  if (endingPasses_ >= 2 || passRepeats) endPhase(preventEncore);
  if (p != pass() && (encorePhase_ > 0 || rules_.ko == KoRule::SIMPLE) &&
      std::count(koHashes_.begin(), koHashes_.end(), koHashes_.back()) >= NO_RESULT_REPETITIONS)
    isNoResult_ = isFinished_ = true;
}

// Returns whether the same side passed in the same situation before, which ends a phase that has no other stop.
bool Game::playPass(Color c) {
  board_.play(pass(), c);
  if (hasButton_) {
    // Taking the button makes every position new.
    hasButton_ = false;
    whiteBonus_ += c == WHITE ? 0.5f : -0.5f;
    endingPasses_ = 0;
    hashesBeforePass_[0].clear();
    hashesBeforePass_[1].clear();
    koHashes_.clear();
    return false;
  }
  if (passesClearHistory()) koHashes_.clear();
  const Hash128 hash = koHash(c);
  const bool repeats = isRepeatedPass(c, hash);
  endingPasses_ = static_cast<int8_t>(endingPassesAfterPass());
  hashesBeforePass_[c - 1].push_back(hash);
  return repeats;
}

// Encore: touching a ko that may not be retaken lifts the block and does nothing else.
bool Game::playPassForKo(Point p, Color c) {
  if (encorePhase_ == 0) return false;
  const Point stone = board_.at(p) == opponent(c) ? p : board_.koCapture(p, c);
  if (stone == NO_POINT || !koRecaptureBlocked_[stone]) return false;
  setKoRecaptureBlocked(stone, false);
  board_.clearKo();
  return true;
}

void Game::playOnBoard(Point p, Color c) {
  const Hash128 before = board_.positionHash();
  board_.play(p, c);
  if (encorePhase_ == 0) return;
  if (board_.koPoint() != NO_POINT) {
    setKoRecaptureBlocked(p, true);
    encoreKoCaptures_.push_back({before, {p, c}});
    board_.clearKo();
  }
  if (koRecaptureBlocked_.none()) return;
  for (Point q = 0; q < area(); q++)
    if (koRecaptureBlocked_[q] && board_.at(q) == EMPTY) setKoRecaptureBlocked(q, false);
}

void Game::setKoRecaptureBlocked(Point p, bool blocked) {
  if (koRecaptureBlocked_[p] == blocked) return;
  koRecaptureBlocked_.set(p, blocked);
  koRecaptureHash_ ^= zobrist().koRecapture(p);
}

void Game::endPhase(bool preventEncore) {
  if (rules_.scoring == Scoring::AREA || encorePhase_ == 2) {
    endAndScore();
  } else if (preventEncore) {
    isPastPhaseEnd_ = true;
    validTurnsThisPhase_ = std::min(validTurnsThisPhase_, 1);
    consecutiveValidTurns_ = std::min(consecutiveValidTurns_, 1);
  } else {
    encorePhase_++;
    turnsThisPhase_ = validTurnsThisPhase_ = 0;
    if (encorePhase_ == 2) secondEncoreStart_ = std::make_shared<const ColorMap>(board_.colors());
    endingPasses_ = 0;
    forgetRepetition();
    koHashes_.push_back(koHash(toPlay_));
  }
}

// ---------------------------------------------------------------- repetition and passes

Hash128 Game::koHash(Color next) const {
  const Hash128 hash = board_.positionHash() ^ koRecaptureHash_;
  const bool situational = rules_.ko == KoRule::SITUATIONAL || rules_.ko == KoRule::SIMPLE || encorePhase_ > 0;
  return situational ? hash ^ zobrist().toPlay(next) : hash;
}

bool Game::passesClearHistory() const {
  return encorePhase_ > 0 || rules_.ko == KoRule::SIMPLE || rules_.ko == KoRule::SPIGHT;
}

int Game::endingPassesAfterPass() const {
  return encorePhase_ == 0 && rules_.ko == KoRule::SPIGHT ? 0 : endingPasses_ + 1;
}

bool Game::isRepeatedPass(Color c, const Hash128& koHashBefore) const {
  if (!passesClearHistory()) return false;
  const std::vector<Hash128>& hashes = hashesBeforePass_[c - 1];
  return std::find(hashes.begin(), hashes.end(), koHashBefore) != hashes.end();
}

bool Game::passWouldEndPhase(Color c) const { return endingPassesAfterPass() >= 2 || isRepeatedPass(c, koHash(c)); }

bool Game::passWouldEndGame(Color c) const {
  return (rules_.scoring == Scoring::AREA || encorePhase_ == 2) && passWouldEndPhase(c);
}

bool Game::shouldSuppressEndFromFriendlyPass(Color c) const {
  return rules_.friendlyPassOk && rules_.scoring == Scoring::AREA && endingPassesAfterPass() == 2 && !isRepeatedPass(c, koHash(c));
}

Board Game::recentBoard(int movesAgo) const {
  if (movesAgo <= 0) return board_;
  const Snapshot& past = previous_[movesAgo == 1 ? 0 : 1];
  return Board::fromColors(xSize(), ySize(), past.colors, past.koPoint);
}

// ---------------------------------------------------------------- hashes

Hash128 Game::positionHash() const {
  Hash128 hash = board_.positionHash() ^ zobrist().toPlay(toPlay_);
  if (board_.koPoint() != NO_POINT) hash ^= zobrist().koBan(board_.koPoint());
  return hash;
}

Hash128 Game::evaluationHash(Color c, double drawEquivalentWinsForWhite) const {
  Hash128 hash = board_.positionHash() ^ zobrist().toPlay(c) ^ zobrist().encore(encorePhase_);
  if (encorePhase_ == 0 && board_.koPoint() != NO_POINT) hash ^= zobrist().koBan(board_.koPoint());
  for (Point p = 0; p < area(); p++) {
    if (isSuperkoBanned(p)) hash ^= zobrist().koBan(p);
    if (koRecaptureBlocked_[p]) hash ^= zobrist().koRecapture(p);
    if (secondEncoreStart(p) != EMPTY) hash ^= zobrist().secondEncoreStart(p, secondEncoreStart(p));
  }
  if (hasButton_) hash ^= zobrist().fact(Zobrist::BUTTON);
  if (passWouldEndPhase(c)) hash ^= zobrist().fact(Zobrist::PASS_ENDS_PHASE);
  if (isFinished_ || isPastPhaseEnd_) hash ^= zobrist().fact(Zobrist::GAME_OVER);
  const uint64_t ruleCode = static_cast<uint64_t>(rules_.ko) | static_cast<uint64_t>(rules_.scoring) << 2 |
                            static_cast<uint64_t>(rules_.tax) << 3 | static_cast<uint64_t>(rules_.multiStoneSuicide) << 5 |
                            static_cast<uint64_t>(rules_.friendlyPassOk) << 6 | static_cast<uint64_t>(suicideForPassAlive()) << 7;
  // Komi counts to 1/256 of a point.
  const auto komiSteps = static_cast<int64_t>(selfKomi(c, drawEquivalentWinsForWhite) * 256.0f);
  return joinNumber(hash, ruleCode ^ static_cast<uint64_t>(komiSteps) << 8);
}

}  // namespace katago_agent
