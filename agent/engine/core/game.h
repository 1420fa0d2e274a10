// A game of Go as the search and the features see it: board, history, rules and score in one copyable value.
//
// Points are y * x_size + x, row-major from the top left; x_size * y_size is the pass. The same numbers cross the C ABI.
#pragma once

#include <cstdint>

namespace katago_agent {

using Point = int16_t;
enum Color : int8_t { EMPTY = 0, BLACK = 1, WHITE = 2 };
inline Color opponent(Color c) { return static_cast<Color>(BLACK + WHITE - c); }

}  // namespace katago_agent
