#include "core_api.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "area.h"
#include "evaluation.h"
#include "features.h"
#include "game.h"
#include "ladder.h"

using namespace katago_agent;

namespace {

const Game& constGame(const void* game) { return *static_cast<const Game*>(game); }
Game& mutableGame(void* game) { return *static_cast<Game*>(game); }

bool isPlayer(int32_t color) { return color == BLACK || color == WHITE; }
bool isMove(const Game& game, int32_t point) { return point >= 0 && point <= game.pass(); }
bool within(int32_t value, int32_t last) { return value >= 0 && value <= last; }

bool readRules(const KaRules& in, Rules& out) {
  const bool valid = within(in.ko, 3) && within(in.scoring, 1) && within(in.tax, 2) && within(in.handicap_bonus, 2);
  if (!valid) return false;
  out.ko = static_cast<KoRule>(in.ko);
  out.scoring = static_cast<Scoring>(in.scoring);
  out.tax = static_cast<Tax>(in.tax);
  out.multiStoneSuicide = in.suicide != 0;
  out.hasButton = in.has_button != 0;
  out.handicapBonus = static_cast<HandicapBonus>(in.handicap_bonus);
  out.friendlyPassOk = in.friendly_pass != 0;
  return true;
}

// No exception may cross the ABI; what fails here is memory, and the caller learns it by the fallback.
template <typename Result, typename Body>
Result guarded(Result fallback, Body body) noexcept {
  try {
    return body();
  } catch (...) {
    return fallback;
  }
}

void copyColors(const ColorMap& colors, int area, uint8_t* out) {
  for (int p = 0; p < area; p++) out[p] = static_cast<uint8_t>(colors[p]);
}

}  // namespace

PostParams readPostParams(const KaPostParams& in) {
  PostParams out;
  out.version = in.version;
  out.policyChannels = in.policy_channels;
  out.scoreChannels = in.score_channels;
  out.scoreMeanMultiplier = in.score_mean_multiplier;
  out.scoreStdevMultiplier = in.score_stdev_multiplier;
  out.leadMultiplier = in.lead_multiplier;
  out.varianceTimeMultiplier = in.variance_time_multiplier;
  out.shorttermValueErrorMultiplier = in.shortterm_value_error_multiplier;
  out.shorttermScoreErrorMultiplier = in.shortterm_score_error_multiplier;
  return out;
}

int32_t ka_abi_version() { return KA_ABI_VERSION; }

void* ka_game_new(int32_t x_size, int32_t y_size, const KaRules* rules, float komi) {
  return guarded<void*>(nullptr, [&]() -> void* {
    Rules parsed;
    if (!readRules(*rules, parsed) || !std::isfinite(komi)) return nullptr;
    return new Game(x_size, y_size, parsed, komi);
  });
}

void* ka_game_copy(const void* game) {
  return guarded<void*>(nullptr, [&]() -> void* { return new Game(constGame(game)); });
}

void ka_game_free(void* game) { delete static_cast<Game*>(game); }

void ka_game_set_komi(void* game, float komi) { mutableGame(game).setKomi(komi); }

void ka_game_set_pass_alive_under_suicide(void* game, int32_t on) { mutableGame(game).setPassAliveUnderSuicide(on != 0); }

bool ka_game_add_stones(void* game, const int32_t* colors, const int32_t* points, int32_t count) {
  return guarded(false, [&] {
    Game& target = mutableGame(game);
    std::vector<Move> stones;
    for (int32_t i = 0; i < count; i++) {
      if (!within(colors[i], WHITE) || !within(points[i], target.area() - 1)) return false;
      stones.push_back({static_cast<Point>(points[i]), static_cast<Color>(colors[i])});
    }
    target.addStones(stones);
    return true;
  });
}

bool ka_game_restart(void* game, int32_t to_play) {
  return isPlayer(to_play) && guarded(false, [&] {
    mutableGame(game).restart(static_cast<Color>(to_play));
    return true;
  });
}

bool ka_game_is_legal(const void* game, int32_t color, int32_t point) {
  const Game& g = constGame(game);
  return isPlayer(color) && isMove(g, point) && g.isLegal(static_cast<Point>(point), static_cast<Color>(color));
}

bool ka_game_is_legal_tolerant(const void* game, int32_t color, int32_t point) {
  const Game& g = constGame(game);
  return isPlayer(color) && isMove(g, point) && g.isLegalTolerant(static_cast<Point>(point), static_cast<Color>(color));
}

bool ka_game_is_legal_ignoring_ko(const void* game, int32_t color, int32_t point, int32_t multi_stone_suicide) {
  const Game& g = constGame(game);
  return isPlayer(color) && isMove(g, point) &&
         g.board().isLegalIgnoringKo(static_cast<Point>(point), static_cast<Color>(color), multi_stone_suicide != 0);
}

int32_t ka_game_play(void* game, const int32_t* colors, const int32_t* points, int32_t count, int32_t prevent_encore) {
  int32_t played = 0;
  guarded(false, [&] {
    for (; played < count; played++) {
      if (!ka_game_is_legal_tolerant(game, colors[played], points[played])) break;
      mutableGame(game).play(static_cast<Point>(points[played]), static_cast<Color>(colors[played]), prevent_encore != 0);
    }
    return true;
  });
  return played;
}

void ka_game_legal_moves(const void* game, int32_t color, uint8_t* out) {
  const Game& g = constGame(game);
  for (int32_t p = 0; p <= g.pass(); p++) out[p] = ka_game_is_legal(game, color, p);
}

void ka_game_state(const void* game, KaGameState* out) {
  const Game& g = constGame(game);
  out->to_play = g.toPlay();
  out->encore_phase = g.encorePhase();
  out->move_count = static_cast<int32_t>(g.moves().size());
  out->ko_point = g.board().koPoint();
  out->captured_black = g.board().captured(BLACK);
  out->captured_white = g.board().captured(WHITE);
  out->finished = g.isFinished();
  out->no_result = g.isNoResult();
  out->past_phase_end = g.isPastPhaseEnd();
  out->has_button = g.hasButton();
  out->handicap_stones = g.handicapStones();
  out->handicap_bonus = g.handicapBonus();
  out->komi = g.komi();
}

void ka_game_stones(const void* game, uint8_t* out) { copyColors(constGame(game).board().colors(), constGame(game).area(), out); }

float ka_game_final_white_score(const void* game) {
  return guarded(NAN, [&] { return constGame(game).finalWhiteScore(); });
}

void ka_game_final_area(const void* game, uint8_t* out) {
  guarded(false, [&] {
    copyColors(constGame(game).finalArea(), constGame(game).area(), out);
    return true;
  });
}

void ka_game_pass_alive_area(const void* game, uint8_t* out) {
  guarded(false, [&] {
    const Game& g = constGame(game);
    copyColors(areaOf(g.board(), {false, false, false, g.suicideForPassAlive()}), g.area(), out);
    return true;
  });
}

void ka_game_ladders(const void* game, uint8_t* out) {
  guarded(false, [&] {
    const Board& board = constGame(game).board();
    std::memset(out, 0, static_cast<size_t>(board.area()));
    LadderReader reader;
    for (const Ladder& ladder : reader.read(board)) {
      if (!ladder.captured) continue;
      for (Point p : ladder.workingMoves) out[p] = 2;
      Point stone = ladder.stone;
      do {
        out[stone] = 1;
        stone = board.nextInChain(stone);
      } while (stone != ladder.stone);
    }
    return true;
  });
}

void ka_game_hash(const void* game, uint64_t* out) {
  const Hash128 hash = constGame(game).positionHash();
  out[0] = hash.low;
  out[1] = hash.high;
}

bool ka_encode(const void* game, int32_t to_play, const KaEncodeOptions* options, int32_t symmetry, float* spatial, float* global) {
  if (!isPlayer(to_play) || !within(symmetry, 7)) return false;
  return guarded(false, [&] {
    EncodeOptions encode;
    encode.conservativePassAndIsRoot = options->conservative_pass_and_is_root != 0;
    encode.enablePassingHacks = options->enable_passing_hacks != 0;
    encode.maxHistory = options->max_history;
    encode.playoutDoublingAdvantage = options->playout_doubling_advantage;
    encode.drawEquivalentWinsForWhite = options->draw_equivalent_wins_for_white;
    encodeV7(constGame(game), static_cast<Color>(to_play), encode, symmetry, spatial, global);
    return true;
  });
}

bool ka_post_process(const void* game, int32_t to_play, const KaPostParams* params, float optimism, int32_t symmetry,
                     const float* policy, const float* value, const float* score, const float* ownership, KaEvaluation* out,
                     float* policy_out, float* ownership_out) {
  if (!isPlayer(to_play) || !within(symmetry, 7)) return false;
  return guarded(false, [&] {
    Evaluation e;
    const PostParams post = readPostParams(*params);
    if (!postProcess(constGame(game), static_cast<Color>(to_play), post, optimism, symmetry, policy, value, score, ownership, e))
      return false;
    *out = {e.whiteWin,  e.whiteLoss,   e.noResult,              e.whiteScoreMean,     e.whiteScoreMeanSq,
            e.whiteLead, e.varTimeLeft, e.shorttermWinlossError, e.shorttermScoreError};
    std::copy(e.policy.begin(), e.policy.end(), policy_out);
    std::copy(e.ownership.begin(), e.ownership.end(), ownership_out);
    return true;
  });
}
