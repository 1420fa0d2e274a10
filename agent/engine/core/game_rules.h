// The rules of a game as plain values. Meanings and numbers are KataGo's (cpp/game/rules.h, docs/GTP_Extensions.md).
#pragma once

#include <cstdint>

namespace katago_agent {

enum class KoRule : int8_t { SIMPLE = 0, POSITIONAL = 1, SITUATIONAL = 2, SPIGHT = 3 };
enum class Scoring : int8_t { AREA = 0, TERRITORY = 1 };
enum class Tax : int8_t { NONE = 0, SEKI = 1, ALL = 2 };
enum class HandicapBonus : int8_t { ZERO = 0, N = 1, N_MINUS_ONE = 2 };

struct Rules {
  KoRule ko = KoRule::POSITIONAL;
  Scoring scoring = Scoring::AREA;
  Tax tax = Tax::NONE;
  bool multiStoneSuicide = true;
  bool hasButton = false;
  HandicapBonus handicapBonus = HandicapBonus::ZERO;
  bool friendlyPassOk = false;
};

}  // namespace katago_agent
