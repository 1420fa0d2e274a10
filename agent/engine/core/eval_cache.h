// Evaluations by position, shared by all searches of a worker. Bounded in entries; the oldest unused ones go first.
#pragma once

#include <cstdint>
#include <list>
#include <mutex>
#include <unordered_map>

#include "board.h"
#include "compact_evaluation.h"

namespace katago_agent {

// Thread-safe. An evaluation that leaves the cache lives on in the trees that hold it.
class EvalCache {
 public:
  // `capacity` in positions; 0 keeps nothing.
  explicit EvalCache(int64_t capacity) : capacity_(capacity) {}

  // Null where unknown. A hit makes the entry the most recent.
  SharedEvaluation find(const Hash128& key);
  void store(const Hash128& key, SharedEvaluation evaluation);
  void clear();
  int64_t size() const;

 private:
  struct Entry {
    Hash128 key;
    SharedEvaluation evaluation;
  };
  struct KeyHash {
    size_t operator()(const Hash128& key) const { return static_cast<size_t>(key.low); }
  };

  const int64_t capacity_;
  mutable std::mutex mutex_;
  std::list<Entry> entries_;  // most recently used first
  std::unordered_map<Hash128, std::list<Entry>::iterator, KeyHash> byKey_;
};

}  // namespace katago_agent
