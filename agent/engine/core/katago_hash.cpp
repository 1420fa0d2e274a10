#include "katago_hash.h"

#include <utility>

#include "features.h"

namespace katago_agent {

namespace {

// What KataGo's numbers come from. Its generator starts from digests of a sentence: the first 32 bits of the MD5 of the sentence,
// little-endian and in decimal, join it to "|digits|sentence", and the SHA-256 of "0" before that, then of "37", then of "74" and so
// on, each four big-endian numbers, give sixteen words and a counter. tests/engine/test_katago_hash.py computes them anew.
struct Seed {
  uint64_t words[16];
  uint64_t counter;
};

// "Board::initHash()"
constexpr Seed POSITIONS =
    {{0x8529bcaa32ee1153ULL, 0xd6c02840163cfd58ULL, 0x661e734dd18330aaULL, 0x69763dadc5f7cf1cULL,
      0xbccedad7211d446cULL, 0x2f882a76eefd2087ULL, 0x0c9373dc8577368eULL, 0x3c5674d8241d748aULL,
      0x9f44ad0b874b3d15ULL, 0x0dbb4cdb929b8149ULL, 0xffe1f77ef042d660ULL, 0x527a813c87f4a148ULL,
      0x24ba17f11024c0b3ULL, 0xac50fb226a9c62cdULL, 0xe3a45493a2d0d60fULL, 0xd432d2ccce0570f9ULL},
     0xd3b47647f67d21aeULL};
// "Board::initHash() for ZOBRIST_SIZE hashes"
constexpr Seed SIZES =
    {{0x5c7ea04526085d79ULL, 0x4617729b165f56dbULL, 0x43e7c38c20e6c7e8ULL, 0x6d154788806cd7f8ULL,
      0xa74e852b707a05c8ULL, 0xb44cb8ee202eeddcULL, 0x3bddd3c6d50c68f8ULL, 0x7755179ef7673e94ULL,
      0x70d89e5b877725c3ULL, 0xee4da74d2298229fULL, 0xb94d1c3384295b45ULL, 0xf1e2ab2ff01d4434ULL,
      0x2f54ea392971c290ULL, 0x96f87c87daa638bcULL, 0x1d5720c396968f89ULL, 0x9532dc6ce8b9c0baULL},
     0x61eee47cbe1decd0ULL};

// The sum of a xorshift1024* (Vigna 2014) and a PCG (O'Neill 2014), as KataGo's core/rand.h.
class Stream {
 public:
  explicit Stream(const Seed& seed) : seed_(seed) {}

  Hash128 next() {
    const uint64_t low = nextWord();
    return {low, nextWord()};
  }

 private:
  uint64_t nextWord() {
    const uint64_t low = nextHalf();
    return low | static_cast<uint64_t>(nextHalf()) << 32;
  }

  uint32_t nextHalf() {
    seed_.counter = seed_.counter * 6364136223846793005ULL + 1442695040888963407ULL;
    const uint32_t mixed = static_cast<uint32_t>((seed_.counter >> 18 ^ seed_.counter) >> 27);
    const int turn = static_cast<int>(seed_.counter >> 59);
    const uint32_t turned = mixed >> turn | mixed << (32 - turn) % 32;

    const uint64_t before = seed_.words[at_];
    at_ = (at_ + 1) % 16;
    uint64_t& word = seed_.words[at_];
    word ^= word << 31;
    word ^= word >> 11 ^ before ^ before >> 30;
    return turned + static_cast<uint32_t>(word * 1181783497276652981ULL >> 32);
  }

  Seed seed_;
  int at_ = 0;
};

// KataGo stores a board with a border; a column of it serves for both ends of neighbouring rows.
constexpr int PLACES = (MAX_SIZE + 1) * (MAX_SIZE + 2) + 1;
int place(Point p, int xSize) { return p % xSize + 1 + (p / xSize + 1) * (xSize + 1); }

struct Numbers {
  Hash128 players[3];  // of nobody, Black and White
  Hash128 stones[PLACES][2];
  Hash128 kos[PLACES];
  Hash128 xSizes[MAX_SIZE + 1];
  Hash128 ySizes[MAX_SIZE + 1];

  Numbers() {
    Stream stream(POSITIONS);
    for (Hash128& player : players) player = stream.next();
    // The border's player and the three phases of the encore.
    for (int unused = 0; unused < 4; unused++) stream.next();
    for (int i = 0; i < PLACES; i++) {
      for (Hash128& stone : stones[i]) {
        stone = stream.next();
        stream.next();  // the mark of a ko that is settled in an encore
      }
      kos[i] = stream.next();
    }
    Stream sizes(SIZES);
    for (int i = 0; i <= MAX_SIZE; i++) {
      xSizes[i] = sizes.next();
      ySizes[i] = sizes.next();
    }
  }
};

const Numbers& numbers() {
  static const Numbers all;
  return all;
}

Hash128 hashSeen(const Board& board, Color toPlay, int symmetry) {
  const Numbers& all = numbers();
  int xSize = board.xSize();
  int ySize = board.ySize();
  if (symmetry >= 4) std::swap(xSize, ySize);
  const auto seen = [&](Point p) { return place(symmetryPoint(p, board.xSize(), board.ySize(), symmetry), xSize); };

  Hash128 hash = all.xSizes[xSize] ^ all.ySizes[ySize] ^ all.players[toPlay];
  for (Point p = 0; p < board.area(); p++)
    if (board.at(p) != EMPTY) hash ^= all.stones[seen(p)][board.at(p) - 1];
  if (board.koPoint() != NO_POINT) hash ^= all.kos[seen(board.koPoint())];
  return hash;
}

bool isLess(const Hash128& a, const Hash128& b) { return a.high != b.high ? a.high < b.high : a.low < b.low; }

}  // namespace

Hash128 katagoHash(const Board& board, Color toPlay) { return hashSeen(board, toPlay, 0); }

Hash128 katagoSymmetricHash(const Board& board, Color toPlay) {
  Hash128 least = hashSeen(board, toPlay, 0);
  for (int symmetry = 1; symmetry < 8; symmetry++) {
    const Hash128 hash = hashSeen(board, toPlay, symmetry);
    if (isLess(hash, least)) least = hash;
  }
  return least;
}

}  // namespace katago_agent
