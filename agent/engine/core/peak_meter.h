// How many multiply-adds one core can do in a second: the ceiling that every network runtime stays below.
//
// Each meter keeps the arithmetic units busy with nothing but its instruction, on registers alone. What a network needs, divided by
// this, is the least time that it could take (agent/workshop/limits.py).
#pragma once

#include "core_api.h"

// fp32 fused multiply-add, as wide as the processor has it.
constexpr int32_t KA_PEAK_FP32 = 0;
// int8 products summed into int32 without dot-product instructions: vpmaddubsw, vpmaddwd and vpaddd; smull, smlal2 and sadalp.
constexpr int32_t KA_PEAK_INT8 = 1;
// The same with them: vpdpbusd; sdot.
constexpr int32_t KA_PEAK_INT8_DOT = 2;

// The most multiply-adds per second that the calling thread reached in any millisecond of `seconds`; 0 where this processor lacks the
// instructions, or where there is no meter for its kind.
KA_API double ka_peak(int32_t kind, double seconds);
