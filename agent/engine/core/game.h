// A game of Go as the search and the features see it: board, history, rules and score in one copyable value.
// Start at `Game::play`; the phases of territory scoring (main, encore 1, encore 2) and all ko rules meet there.
//
// Behaviour follows KataGo's cpp/game/boardhistory.cpp, also where moves break the rules: `play` takes any move that
// `isLegalTolerant` accepts, so that analysis of odd records goes on.
// Points are y * x_size + x, row-major from the top left; x_size * y_size is the pass. The same numbers cross the C ABI.
// Scores are White minus Black. A copy costs about two board copies plus the hashes of the game so far.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "board.h"
#include "game_rules.h"

namespace katago_agent {

struct Move {
  Point point;
  Color color;
};

// Simple ko and the encore: a position that stands for the third time makes the game void.
constexpr int NO_RESULT_REPETITIONS = 3;

class Game {
 public:
  // Throws std::invalid_argument for sizes outside 1..MAX_SIZE.
  Game(int xSize, int ySize, const Rules& rules, float komi);

  // ------------------------------------------------------------ set-up (before any move)
  // Set up one after the other as `Board::setStone` does. They count as handicap where they are all black. Restarts the history.
  void addStones(const std::vector<Move>& stones);
  // Makes this position the first one of the history, with `player` to move; the encore phase stays. At first BLACK is to move.
  // KataGo's protocols do so whenever the side that is asked about is not the one to move.
  void restart(Color player);
  void setKomi(float komi);
  // Networks that say preferPassAlive see pass-alive area, and have games scored, as if multi-stone suicide were legal. Off at first.
  void setPassAliveUnderSuicide(bool value) { passAliveUnderSuicide_ = value; }
  // Whether several black moves at the start count as handicap stones for whiteHandicapBonus. KataGo's GTP and analysis: true, the
  // value at first.
  void setLeadingBlackMovesAreHandicap(bool value);

  // ------------------------------------------------------------ moves
  // By all rules, for the side to move only (the other side may never move, not even pass).
  bool isLegal(Point p, Color c) const;
  // What `play` accepts, as native KataGo does for given moves: either side, ko and superko ignored, multi-stone suicide allowed.
  bool isLegalTolerant(Point p, Color c) const;
  // Requires isLegalTolerant. A move out of turn restarts the history first. `preventEncore` keeps territory-scored games out of the encore (KataGo's preventCleanupPhase: true for
  // moves of the game itself, false for moves of the search tree).
  void play(Point p, Color c, bool preventEncore);

  // ------------------------------------------------------------ state
  int xSize() const { return board_.xSize(); }
  int ySize() const { return board_.ySize(); }
  int area() const { return board_.area(); }
  Point pass() const { return board_.pass(); }
  const Board& board() const { return board_; }
  const Rules& rules() const { return rules_; }
  float komi() const { return komi_; }
  Color toPlay() const { return toPlay_; }
  const std::vector<Move>& moves() const { return moves_; }
  int encorePhase() const { return encorePhase_; }
  bool hasButton() const { return hasButton_; }
  // KataGo's simple ko, superko and encore bans for the side to move, as one question for an empty point.
  bool isSuperkoBanned(Point p) const;
  // Encore: a stone just taken in a ko there may not be retaken; touching it is a pass for ko.
  bool isKoRecaptureBlocked(Point p) const { return koRecaptureBlocked_[p]; }
  bool isPassForKo(Point p, Color c) const;
  // Stones as they stood when the second encore began; EMPTY everywhere before it.
  Color secondEncoreStart(Point p) const { return secondEncoreStart_ ? (*secondEncoreStart_)[p] : EMPTY; }

  // The board `movesAgo` (0, 1 or 2) moves before; the first one where there were fewer.
  Board recentBoard(int movesAgo) const;
  // KataGo's numApproxValidTurnsThisPhase: how many of the last moves the network may see as history.
  int validTurnsThisPhase() const { return validTurnsThisPhase_; }
  int turnsThisPhase() const { return turnsThisPhase_; }
  // Consecutive moves up to now that broke no rule.
  int consecutiveValidTurns() const { return consecutiveValidTurns_; }

  // ------------------------------------------------------------ end and score
  // True after the move that ended the game, until another is played.
  bool isFinished() const { return isFinished_; }
  bool isNoResult() const { return isNoResult_; }
  // Two passes came in a phase that `preventEncore` did not let end.
  bool isPastPhaseEnd() const { return isPastPhaseEnd_; }
  // The score of a finished game, or what ending it here would give: area or territory, komi, handicap bonus, button and tax.
  float finalWhiteScore() const;
  // The owner of each point as `finalWhiteScore` counts it.
  ColorMap finalArea() const;
  // Ends and scores the game where every point is pass-alive for one side.
  void endIfAllPassAlive();

  // Passes in a row, of those that count towards an end.
  int endingPasses() const { return endingPasses_; }
  bool passWouldEndPhase(Color c) const;
  bool passWouldEndGame(Color c) const;
  // A second pass that would end the game, but by friendlyPassOk the search wants a third.
  bool shouldSuppressEndFromFriendlyPass(Color c) const;
  bool suicideForPassAlive() const { return rules_.multiStoneSuicide || passAliveUnderSuicide_; }

  // komi + bonuses (moves under territory scoring, handicap, button) from `c`'s side. `drawEquivalentWinsForWhite` 0..1 shifts it by
  // up to half a point where a draw is possible.
  float selfKomi(Color c, double drawEquivalentWinsForWhite) const;
  // The bonus for White by whiteHandicapBonus and the stones given.
  float handicapBonus() const { return handicapBonus_; }
  int handicapStones() const;

  // ------------------------------------------------------------ hashes
  // Stones, size, side to move and simple ko.
  Hash128 positionHash() const;
  // Everything that the network's answer for `c` depends on, but the last moves: position, bans, encore, selfKomi, rules, whether a
  // pass ends the phase, whether the game is over. features.h folds the options of an encoding in.
  Hash128 evaluationHash(Color c, double drawEquivalentWinsForWhite = 0.5) const;

 private:
  struct Snapshot {
    ColorMap colors;
    Point koPoint;
    Hash128 hash;
  };
  struct EncoreKoCapture {
    Hash128 before;
    Move move;
  };

  Snapshot snapshot() const;
  void forgetRepetition();
  void recomputeHandicapBonus();
  float scoreNow(ColorMap& area) const;
  Hash128 koHash(Color next) const;
  bool passesClearHistory() const;
  int endingPassesAfterPass() const;
  bool isRepeatedPass(Color c, const Hash128& koHashBefore) const;
  bool playPass(Color c);
  bool playPassForKo(Point p, Color c);
  void playOnBoard(Point p, Color c);
  void setKoRecaptureBlocked(Point p, bool blocked);
  void endPhase(bool preventEncore);
  void endAndScore();
  int areaScore(ColorMap& area) const;
  int territoryScore(ColorMap& area) const;

  Board board_;
  Rules rules_;
  float komi_;
  Color toPlay_ = BLACK;
  int8_t encorePhase_ = 0;
  int8_t endingPasses_ = 0;
  bool hasButton_ = false;
  bool passAliveUnderSuicide_ = false;
  bool leadingBlackMovesAreHandicap_ = true;
  bool whiteHasMoved_ = false;
  bool isFinished_ = false;
  bool isNoResult_ = false;
  bool isPastPhaseEnd_ = false;
  int initialBlackStones_ = 0;
  int initialWhiteStones_ = 0;
  int turnsThisPhase_ = 0;
  int validTurnsThisPhase_ = 0;
  int consecutiveValidTurns_ = 0;
  float whiteBonus_ = 0;
  float handicapBonus_ = 0;
  float finalScore_ = 0;
  Snapshot previous_[2];  // one and two moves ago
  PointSet everOccupied_;
  PointSet koRecaptureBlocked_;
  Hash128 koRecaptureHash_;
  std::vector<Move> moves_;
  std::vector<Hash128> koHashes_;                // repetition is judged among these; the latest board's is the last
  std::vector<Hash128> hashesBeforePass_[2];     // by colour
  std::vector<EncoreKoCapture> encoreKoCaptures_;
  std::shared_ptr<const ColorMap> secondEncoreStart_;
};

}  // namespace katago_agent
