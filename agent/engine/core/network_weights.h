// Weights into the order of the kernels: panels of kPanel outputs, [panel, depth, kPanel], zeros beyond the last output.
#pragma once

#include <cstdint>

#include "network.h"

namespace katago_agent {

// From [in, out].
PackedWeights packMatrix(const float* weights, int64_t in, int64_t out);
// From [out, in, window]: a row of the matrix for each place of the window and input, in this order.
PackedWeights packPatches(const float* weights, int64_t out, int64_t in, int64_t window);
// From [out, in, 3, 3]: one matrix [in, out] for each of the kProducts products of Winograd's method, one after the other.
PackedWeights packWinograd(const float* weights, int64_t out, int64_t in);

}  // namespace katago_agent
