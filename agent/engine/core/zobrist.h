// Random numbers that hashes of positions are made of, the same in every process.
#pragma once

#include "board.h"
#include "game_rules.h"

namespace katago_agent {

class Zobrist {
 public:
  Zobrist();
  const Hash128& stone(Point p, Color c) const { return stones_[p][c - 1]; }
  const Hash128& koBan(Point p) const { return koBans_[p]; }
  const Hash128& koRecapture(Point p) const { return koRecaptures_[p]; }
  const Hash128& secondEncoreStart(Point p, Color c) const { return secondEncore_[p][c - 1]; }
  const Hash128& toPlay(Color c) const { return players_[c - 1]; }
  const Hash128& encore(int phase) const { return encores_[phase]; }
  Hash128 size(int xSize, int ySize) const { return xSizes_[xSize - 1] ^ ySizes_[ySize - 1]; }
  // One value for each named fact that a hash may hold.
  enum Fact { GAME_OVER, PASS_ENDS_PHASE, CONSERVATIVE_PASS, FRIENDLY_PASS, PASSING_HACKS, NO_HISTORY, BUTTON, FACTS };
  const Hash128& fact(Fact f) const { return facts_[f]; }

 private:
  Hash128 stones_[MAX_AREA][2];
  Hash128 koBans_[MAX_AREA];
  Hash128 koRecaptures_[MAX_AREA];
  Hash128 secondEncore_[MAX_AREA][2];
  Hash128 players_[2];
  Hash128 encores_[3];
  Hash128 xSizes_[MAX_SIZE];
  Hash128 ySizes_[MAX_SIZE];
  Hash128 facts_[FACTS];
};

const Zobrist& zobrist();

// A bijection that spreads every bit over the word (splitmix64's finalizer, Steele et al. 2014).
inline uint64_t mixBits(uint64_t x) {
  x ^= x >> 30;
  x *= 0xbf58476d1ce4e5b9ULL;
  x ^= x >> 27;
  x *= 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

// Joins a number to a hash; the order of joins matters.
inline Hash128 joinNumber(const Hash128& hash, uint64_t number) {
  const uint64_t low = mixBits(hash.low + mixBits(number + 0x9e3779b97f4a7c15ULL));
  return {low, mixBits(hash.high ^ mixBits(low + number))};
}

}  // namespace katago_agent
