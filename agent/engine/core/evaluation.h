// What a network says of a position, turned from raw outputs into probabilities and points. Start at `postProcess`.
#pragma once

#include <vector>

#include "game.h"

namespace katago_agent {

// Facts of a network file that raw outputs are read with. Versions 8 to 17; defaults are KataGo's.
struct PostParams {
  int version = 8;
  int policyChannels = 1;  // 1, 2 or 4; channel 1 is the optimistic policy where there are 2 or more
  int scoreChannels = 4;   // 4 (version 8) or 6
  float scoreMeanMultiplier = 20.0f;
  float scoreStdevMultiplier = 20.0f;
  float leadMultiplier = 20.0f;
  float varianceTimeMultiplier = 40.0f;
  float shorttermValueErrorMultiplier = 0.25f;
  float shorttermScoreErrorMultiplier = 30.0f;
};

// All from White's side. Probabilities sum to one with whiteLoss and noResult; scores in points, White minus Black.
struct Evaluation {
  float whiteWin = 0;
  float whiteLoss = 0;
  float noResult = 0;
  float whiteScoreMean = 0;    // of self-play games, with their late carelessness
  float whiteScoreMeanSq = 0;  // mean of the square
  float whiteLead = 0;         // points that komi would have to change by for an even game
  float varTimeLeft = -1;      // turns squared; -1 where the network has none
  float shorttermWinlossError = -1;
  float shorttermScoreError = -1;
  std::vector<float> policy;     // area + 1, pass last; -1 illegal; the legal ones sum to one
  std::vector<float> ownership;  // area; 1 White, -1 Black
};

// Raw outputs of one position, float32: `policy` [policyChannels][area + 1] logits with the pass last, channel-major; `value` [3] win,
// loss, noResult logits of `toPlay`; `score` [scoreChannels]; `ownership` [area] before tanh. `symmetry` is the one that the position was
// encoded with; policy and ownership are turned back. `optimism` 0..1 mixes the optimistic policy in where the network has one.
// `enablePassingHacks` as in EncodeOptions: the pass gets at most 19 times what all other moves have. `policyTemperature` divides the
// logits, before that (KataGo's nnPolicyTemperature).
// Returns false, and leaves `out` unspecified, when an output that matters is not finite.
bool postProcess(const Game& game, Color toPlay, const PostParams& params, float optimism, int symmetry, const float* policy,
                 const float* value, const float* score, const float* ownership, Evaluation& out, bool enablePassingHacks = false,
                 float policyTemperature = 1.0f);

}  // namespace katago_agent
