// The V7 inputs, in KataGo's order and with its numbers (KataGo: cpp/neuralnet/nninputs.cpp, fillRowV7).
//
// Spatial planes                                        Global numbers
//  0 on board                                            0-4 one of the last five moves was a pass
//  1, 2 own stone, opponent's stone                      5 komi and bonuses for the side to move / 20
//  3, 4, 5 chain has one, two, three liberties           6 ko rule is not simple
//  6 may not be taken: ko, superko, encore               7 +0.5 positional or spight, -0.5 situational
//  7 encore: ko that may not be retaken                  8 multi-stone suicide is legal
//  8 never written in V7                                 9 territory scoring
//  9-13 the last five moves                             10, 11 tax: seki or all, all
// 14 chain in a ladder now                              12, 13 encore 1 or 2, encore 2
// 15, 16 the same one and two moves ago                 14 a pass ends the phase
// 17 moves that capture in a ladder                     15, 16 playout doubling advantage: there is one, half of it
// 18, 19 own and opponent's area                        17 the button is there to take
// 20, 21 own and opponent's stones at encore 2's start  18 parity wave of komi
#include "features.h"

#include <algorithm>
#include <cmath>

#include "area.h"
#include "ladder.h"
#include "zobrist.h"

namespace katago_agent {

namespace {

constexpr float KOMI_CLIP = 20.0f;  // beyond the board's area, as KataGo clips

// Writes ones into planes, at points turned by a symmetry.
class Planes {
 public:
  Planes(float* spatial, int xSize, int ySize, int symmetry) : spatial_(spatial), area_(xSize * ySize) {
    std::fill(spatial, spatial + SPATIAL_FEATURES * area_, 0.0f);
    for (Point p = 0; p < area_; p++) target_[p] = symmetryPoint(p, xSize, ySize, symmetry);
  }
  void set(int feature, Point p) { spatial_[feature * area_ + target_[p]] = 1.0f; }

 private:
  float* spatial_;
  int area_;
  std::array<Point, MAX_AREA> target_;
};

// Features 0 to 5.
void encodeStones(const Board& board, Color own, Planes& planes) {
  for (Point p = 0; p < board.area(); p++) {
    planes.set(0, p);
    if (board.at(p) == EMPTY) continue;
    planes.set(board.at(p) == own ? 1 : 2, p);
    if (board.liberties(p) <= 3) planes.set(2 + board.liberties(p), p);
  }
}

// Features 6 and 7.
void encodeBans(const Game& game, Planes& planes) {
  if (game.encorePhase() == 0 && game.board().koPoint() != NO_POINT) planes.set(6, game.board().koPoint());
  for (Point p = 0; p < game.area(); p++) {
    if (game.isSuperkoBanned(p)) planes.set(6, p);
    if (game.isKoRecaptureBlocked(p)) planes.set(7, p);
  }
}

// Features 18 and 19; and whether the game, were it to end here, would not be a win for `own`. Territory is unknown before encore 2.
bool encodeArea(const Game& game, Color own, double drawEquivalentWinsForWhite, Planes& planes) {
  const Rules& rules = game.rules();
  if (rules.scoring == Scoring::TERRITORY && game.encorePhase() < 2) return false;
  const ColorMap owners = game.finalArea();
  int points = 0;
  for (Point p = 0; p < game.area(); p++) {
    if (owners[p] == EMPTY) continue;
    planes.set(owners[p] == own ? 18 : 19, p);
    points += owners[p] == own ? 1 : -1;
  }
  if (rules.tax == Tax::ALL) {
    int regions = 0;
    independentLifeArea(game.board(), false, false, game.suicideForPassAlive(), regions);
    points += own == WHITE ? -2 * regions : 2 * regions;
  }
  return static_cast<float>(points) + game.selfKomi(own, drawEquivalentWinsForWhite) <= 0.0f;
}

// Features 9 to 13 and globals 0 to 4. Returns how many moves they show. Moves must alternate to be shown.
int encodeHistory(const Game& game, Color own, int maxTurns, Planes& planes, float* global) {
  const std::vector<Move>& moves = game.moves();
  const int turns = std::min(maxTurns, game.validTurnsThisPhase());
  int shown = 0;
  Color expected = opponent(own);
  while (shown < turns) {
    const Move& move = moves[moves.size() - 1 - shown];
    if (move.color != expected) break;
    if (move.point == game.pass())
      global[shown] = 1.0f;
    else
      planes.set(9 + shown, move.point);
    shown++;
    expected = opponent(expected);
  }
  return shown;
}

// Features 14 to 17. Boards of moves that are not shown are taken to be as the one after.
void encodeLadders(const Game& game, Color own, int turnsShown, Planes& planes) {
  thread_local LadderReader reader;
  int feature = 14;
  std::vector<Point> laddered;
  for (int movesAgo = 0; movesAgo <= 2; movesAgo++, feature++) {
    if (movesAgo <= turnsShown) {
      const Board board = game.recentBoard(movesAgo);
      laddered.clear();
      for (const Ladder& ladder : reader.read(board)) {
        if (!ladder.captured) continue;
        Point stone = ladder.stone;
        do {
          laddered.push_back(stone);
          stone = board.nextInChain(stone);
        } while (stone != ladder.stone);
        if (movesAgo == 0 && board.at(ladder.stone) != own)
          for (Point move : ladder.workingMoves) planes.set(17, move);
      }
    }
    for (Point stone : laddered) planes.set(feature, stone);
  }
}

// Global 18: a triangle wave of period two, zero and rising where this komi can make a draw on this board.
float komiParityWave(const Game& game, float selfKomi) {
  const float offset = game.area() % 2 == 0 ? 0.0f : 1.0f;
  const float drawable = std::floor((selfKomi - offset) / 2.0f) * 2.0f + offset;
  const float above = std::min(std::max(selfKomi - drawable, 0.0f), 2.0f);
  if (above < 0.5f) return above;
  return above < 1.5f ? 1.0f - above : above - 2.0f;
}

void encodeRules(const Game& game, Color own, const EncodeOptions& options, float* global) {
  const Rules& rules = game.rules();
  const float bound = static_cast<float>(game.area()) + KOMI_CLIP;
  const float selfKomi = std::min(std::max(game.selfKomi(own, options.drawEquivalentWinsForWhite), -bound), bound);
  global[5] = selfKomi / 20.0f;
  if (rules.ko != KoRule::SIMPLE) {
    global[6] = 1.0f;
    global[7] = rules.ko == KoRule::SITUATIONAL ? -0.5f : 0.5f;
  }
  global[8] = rules.multiStoneSuicide ? 1.0f : 0.0f;
  global[9] = rules.scoring == Scoring::TERRITORY ? 1.0f : 0.0f;
  global[10] = rules.tax != Tax::NONE ? 1.0f : 0.0f;
  global[11] = rules.tax == Tax::ALL ? 1.0f : 0.0f;
  global[12] = game.encorePhase() > 0 ? 1.0f : 0.0f;
  global[13] = game.encorePhase() > 1 ? 1.0f : 0.0f;
  if (options.playoutDoublingAdvantage != 0) {
    global[15] = 1.0f;
    global[16] = static_cast<float>(0.5 * options.playoutDoublingAdvantage);
  }
  global[17] = game.hasButton() ? 1.0f : 0.0f;
  if (rules.scoring == Scoring::AREA || game.encorePhase() == 2) global[18] = komiParityWave(game, selfKomi);
}

}  // namespace

Point symmetryPoint(Point p, int xSize, int ySize, int symmetry) {
  if (p < 0 || p >= xSize * ySize) return p;
  int x = p % xSize;
  int y = p / xSize;
  if (symmetry & 1) y = ySize - 1 - y;
  if (symmetry & 2) x = xSize - 1 - x;
  return static_cast<Point>(symmetry & 4 ? x * ySize + y : y * xSize + x);
}

void encodeV7(const Game& game, Color toPlay, const EncodeOptions& options, int symmetry, float* spatial, float* global) {
  Planes planes(spatial, game.xSize(), game.ySize(), symmetry);
  std::fill(global, global + GLOBAL_FEATURES, 0.0f);

  encodeStones(game.board(), toPlay, planes);
  encodeBans(game, planes);
  const bool endWouldNotWin = encodeArea(game, toPlay, options.drawEquivalentWinsForWhite, planes);

  // Where a pass would end the game and the search will not let it, the network must not see the passes that lead there.
  const bool hideEnd = game.passWouldEndGame(toPlay) &&
                       (options.conservativePassAndIsRoot || game.shouldSuppressEndFromFriendlyPass(toPlay) ||
                        (options.enablePassingHacks && endWouldNotWin));
  int maxTurns = HISTORY_MOVES;
  if (hideEnd)
    maxTurns = 0;
  else if (game.isFinished() || game.isPastPhaseEnd())
    maxTurns = 1;
  const int turnsShown = encodeHistory(game, toPlay, std::min(maxTurns, options.maxHistory), planes, global);
  encodeLadders(game, toPlay, turnsShown, planes);

  for (Point p = 0; p < game.area(); p++) {
    const Color stone = game.secondEncoreStart(p);
    if (stone != EMPTY) planes.set(stone == toPlay ? 20 : 21, p);  // features 20, 21
  }
  encodeRules(game, toPlay, options, global);
  global[14] = !hideEnd && game.passWouldEndPhase(toPlay) ? 1.0f : 0.0f;
}

Hash128 evaluationHash(const Game& game, Color toPlay, const EncodeOptions& options) {
  Hash128 hash = game.evaluationHash(toPlay, options.drawEquivalentWinsForWhite);
  if (game.passWouldEndPhase(toPlay)) {
    if (options.conservativePassAndIsRoot) hash ^= zobrist().fact(Zobrist::CONSERVATIVE_PASS);
    if (options.enablePassingHacks) hash ^= zobrist().fact(Zobrist::PASSING_HACKS);
    if (game.shouldSuppressEndFromFriendlyPass(toPlay)) hash ^= zobrist().fact(Zobrist::FRIENDLY_PASS);
  }
  if (options.maxHistory <= 0) hash ^= zobrist().fact(Zobrist::NO_HISTORY);
  // Both count in steps far below what the network can tell apart.
  const auto advantage = static_cast<int64_t>(options.playoutDoublingAdvantage * 256.0);
  const auto optimism = static_cast<int64_t>(options.policyOptimism * 1024.0);
  if (advantage != 0 || optimism != 0) hash = joinNumber(hash, static_cast<uint64_t>(advantage) << 32 ^ static_cast<uint64_t>(optimism));
  return hash;
}

}  // namespace katago_agent
