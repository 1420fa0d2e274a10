#include "eval_cache.h"

namespace katago_agent {

SharedEvaluation EvalCache::find(const Hash128& key) {
  std::lock_guard<std::mutex> lock(mutex_);
  auto found = byKey_.find(key);
  if (found == byKey_.end()) return nullptr;
  entries_.splice(entries_.begin(), entries_, found->second);
  return found->second->evaluation;
}

void EvalCache::store(const Hash128& key, SharedEvaluation evaluation) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (capacity_ <= 0) return;
  auto found = byKey_.find(key);
  if (found != byKey_.end()) {
    found->second->evaluation = std::move(evaluation);
    entries_.splice(entries_.begin(), entries_, found->second);
    return;
  }
  while (static_cast<int64_t>(entries_.size()) >= capacity_) {
    byKey_.erase(entries_.back().key);
    entries_.pop_back();
  }
  decltype(entries_) fresh;  // in the list only once it can be found
  fresh.push_front({key, std::move(evaluation)});
  byKey_[key] = fresh.begin();
  entries_.splice(entries_.begin(), fresh);
}

void EvalCache::clear() {
  std::lock_guard<std::mutex> lock(mutex_);
  byKey_.clear();
  entries_.clear();
}

int64_t EvalCache::size() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return static_cast<int64_t>(entries_.size());
}

}  // namespace katago_agent
