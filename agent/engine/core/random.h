// A small random generator that gives the same numbers on every platform (std distributions do not).
#pragma once

#include <cmath>
#include <cstdint>

namespace katago_agent {

// splitmix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014.
inline uint64_t scramble(uint64_t x) {
  x += 0x9E3779B97F4A7C15ull;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
  return x ^ (x >> 31);
}

class Random {
 public:
  // Seeds that follow each other give sequences that have nothing to do with each other.
  explicit Random(uint64_t seed) : state_(scramble(seed)) {}
  uint64_t next() { return scramble(state_++); }
  // [0,1)
  double uniform() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }
  // Standard normal, by Box and Muller.
  double gaussian() {
    double radius = std::sqrt(-2.0 * std::log(1.0 - uniform()));
    return radius * std::cos(6.283185307179586 * uniform());
  }

 private:
  uint64_t state_;
};

}  // namespace katago_agent
