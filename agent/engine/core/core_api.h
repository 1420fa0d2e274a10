// The C ABI of games, features and evaluations, for agent/engine/library.py. Opaque pointers, plain numbers, no exceptions: a call that
// cannot be served returns null, 0 or false. Colours and points as in board.h; every point and colour that comes in is checked here.
// Pointers to games are the caller's to free; calls on one game must not overlap, except const ones.
#pragma once

#include <cstdint>

#include "evaluation.h"

#define KA_API extern "C" __attribute__((visibility("default")))

// Raised whenever a function or structure of any `*_api.h` changes, so that Python never runs with another build's library.
constexpr int32_t KA_ABI_VERSION = 4;

struct KaRules {
  int32_t ko;              // KoRule
  int32_t scoring;         // Scoring
  int32_t tax;             // Tax
  int32_t suicide;         // 0 or 1
  int32_t has_button;      // 0 or 1
  int32_t handicap_bonus;  // HandicapBonus
  int32_t friendly_pass;   // 0 or 1
};

struct KaGameState {
  int32_t to_play;
  int32_t encore_phase;
  int32_t move_count;
  int32_t ko_point;  // -1 where there is none
  int32_t captured_black;
  int32_t captured_white;
  int32_t finished;
  int32_t no_result;
  int32_t past_phase_end;
  int32_t has_button;
  int32_t handicap_stones;
  float handicap_bonus;
  float komi;
};

struct KaEncodeOptions {
  int32_t conservative_pass_and_is_root;
  int32_t enable_passing_hacks;
  int32_t max_history;
  double playout_doubling_advantage;
  double draw_equivalent_wins_for_white;
};

struct KaPostParams {
  int32_t version;
  int32_t policy_channels;
  int32_t score_channels;
  float score_mean_multiplier;
  float score_stdev_multiplier;
  float lead_multiplier;
  float variance_time_multiplier;
  float shortterm_value_error_multiplier;
  float shortterm_score_error_multiplier;
};

struct KaEvaluation {
  float white_win;
  float white_loss;
  float no_result;
  float white_score_mean;
  float white_score_mean_sq;
  float white_lead;
  float var_time_left;
  float shortterm_winloss_error;
  float shortterm_score_error;
};

katago_agent::PostParams readPostParams(const KaPostParams& in);

KA_API int32_t ka_abi_version();

// Null for sizes outside 1..19, rules that are none, or a komi that is not finite.
KA_API void* ka_game_new(int32_t x_size, int32_t y_size, const KaRules* rules, float komi);
KA_API void* ka_game_copy(const void* game);
KA_API void ka_game_free(void* game);
KA_API void ka_game_set_komi(void* game, float komi);
KA_API void ka_game_set_pass_alive_under_suicide(void* game, int32_t on);

// Sets stones up (Game::addStones). False, with nothing changed, for a point off the board or a colour that is none; EMPTY removes.
KA_API bool ka_game_add_stones(void* game, const int32_t* colors, const int32_t* points, int32_t count);
KA_API bool ka_game_restart(void* game, int32_t to_play);

KA_API bool ka_game_is_legal(const void* game, int32_t color, int32_t point);
KA_API bool ka_game_is_legal_tolerant(const void* game, int32_t color, int32_t point);
// By the board alone: either side may move, ko and superko are ignored.
KA_API bool ka_game_is_legal_ignoring_ko(const void* game, int32_t color, int32_t point, int32_t multi_stone_suicide);
// Plays as long as moves are legal in the tolerant sense; returns how many were played.
KA_API int32_t ka_game_play(void* game, const int32_t* colors, const int32_t* points, int32_t count, int32_t prevent_encore);
// area + 1 bytes, pass last: 1 where `color` may play.
KA_API void ka_game_legal_moves(const void* game, int32_t color, uint8_t* out);

KA_API void ka_game_state(const void* game, KaGameState* out);
// `area` bytes of colours.
KA_API void ka_game_stones(const void* game, uint8_t* out);
KA_API float ka_game_final_white_score(const void* game);
KA_API void ka_game_final_area(const void* game, uint8_t* out);
KA_API void ka_game_pass_alive_area(const void* game, uint8_t* out);
// `area` bytes: 1 on stones that a ladder takes, 2 on points where a move takes a chain of two liberties in a ladder.
KA_API void ka_game_ladders(const void* game, uint8_t* out);
// Two numbers: low and high half of Game::positionHash.
KA_API void ka_game_hash(const void* game, uint64_t* out);

// encodeV7 for `to_play`: 22 * area and 19 floats. `symmetry` 0..7.
KA_API bool ka_encode(const void* game, int32_t to_play, const KaEncodeOptions* options, int32_t symmetry, float* spatial, float* global);
// postProcess: `policy_out` gets area + 1 floats, `ownership_out` area. False where an output is not finite.
KA_API bool ka_post_process(const void* game, int32_t to_play, const KaPostParams* params, float optimism, int32_t symmetry,
                            const float* policy, const float* value, const float* score, const float* ownership, KaEvaluation* out,
                            float* policy_out, float* ownership_out);
