#include "zobrist.h"

namespace katago_agent {

namespace {

struct Stream {
  uint64_t state = 0x6b61746167656e74ULL;
  uint64_t next() { return mixBits(state += 0x9e3779b97f4a7c15ULL); }
  template <typename Table>
  void fill(Table& table) {
    Hash128* values = reinterpret_cast<Hash128*>(&table);
    for (size_t i = 0; i < sizeof(table) / sizeof(Hash128); i++) {
      values[i].low = next();
      values[i].high = next();
    }
  }
};

}  // namespace

Zobrist::Zobrist() {
  Stream stream;
  stream.fill(stones_);
  stream.fill(koBans_);
  stream.fill(koRecaptures_);
  stream.fill(secondEncore_);
  stream.fill(players_);
  stream.fill(encores_);
  stream.fill(xSizes_);
  stream.fill(ySizes_);
  stream.fill(facts_);
}

const Zobrist& zobrist() {
  static const Zobrist table;
  return table;
}

}  // namespace katago_agent
