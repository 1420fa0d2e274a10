// The C ABI of the search, for ctypes: functions of search.h, report.h and eval_cache.h with flat arrays. agent/engine/tree.py is
// its only caller and says what the arrays hold. Nothing throws: functions that can fail return FAILED or null and leave the reason
// in `ka_search_error`.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <exception>
#include <string>

#include "core_api.h"
#include "eval_cache.h"
#include "report.h"
#include "search.h"

using namespace katago_agent;

namespace {

constexpr int FAILED = -2;

thread_local std::string lastError;

template <typename Work>
auto guarded(Work work) -> decltype(work()) {
  try {
    return work();
  } catch (const std::exception& error) {
    lastError = error.what();
    return static_cast<decltype(work())>(FAILED);
  }
}

// What `make` made; null where it could not.
template <typename Make>
void* made(Make make) {
  try {
    return make();
  } catch (const std::exception& error) {
    lastError = error.what();
    return nullptr;
  }
}

Search& searchOf(void* search) { return *static_cast<Search*>(search); }
const Report& reportOf(const void* report) { return *static_cast<const Report*>(report); }

std::vector<int> limitsOf(const int32_t* untilDepth, int count) {
  return untilDepth == nullptr ? std::vector<int>() : std::vector<int>(untilDepth, untilDepth + count);
}

}  // namespace

KA_API const char* ka_search_error() { return lastError.c_str(); }

// ---------------------------------------------------------------- cache

KA_API void* ka_cache_new(int64_t capacity) {
  return made([&] { return new EvalCache(capacity); });
}
KA_API void ka_cache_free(void* cache) { delete static_cast<EvalCache*>(cache); }
KA_API void ka_cache_clear(void* cache) { static_cast<EvalCache*>(cache)->clear(); }
KA_API int64_t ka_cache_size(const void* cache) { return static_cast<const EvalCache*>(cache)->size(); }

// ---------------------------------------------------------------- search

KA_API void* ka_search_new(const KaPostParams* n, int preferPassAlive, void* cache, uint64_t seed) {
  return made([&] { return new Search(readPostParams(*n), preferPassAlive != 0, *static_cast<EvalCache*>(cache), seed); });
}
KA_API void ka_search_free(void* search) { delete static_cast<Search*>(search); }

KA_API int ka_search_set_game(void* search, const void* game, int toPlay) {
  return guarded([&] {
    searchOf(search).setGame(*static_cast<const Game*>(game), static_cast<Color>(toPlay));
    return 0;
  });
}

KA_API int ka_search_advance(void* search, int move, int preventEncore) {
  return guarded([&] {
    searchOf(search).advance(static_cast<Point>(move), preventEncore != 0);
    return 0;
  });
}

// `names` and `values` are the parameters that differ from the defaults. `untilBlack` and `untilWhite` are null or hold a depth for
// each of area + 1 points. Returns the visits that the tree has already.
KA_API int64_t ka_search_begin(void* search, int count, const char* const* names, const double* values, const int32_t* untilBlack,
                               const int32_t* untilWhite) {
  return guarded([&]() -> int64_t {
    SearchParams params;
    for (int i = 0; i < count; i++)
      if (!setSearchParam(params, names[i], values[i])) {
        lastError = std::string("unknown search parameter ") + names[i];
        return FAILED;
      }
    const int points = searchOf(search).game().area() + 1;
    MoveLimits limits;
    limits.untilDepth[BLACK - 1] = limitsOf(untilBlack, points);
    limits.untilDepth[WHITE - 1] = limitsOf(untilWhite, points);
    return searchOf(search).begin(params, limits);
  });
}

KA_API int ka_search_select(void* search, int maxLeaves, int64_t maxVisits, float* spatial, float* global, int32_t* leaves) {
  return guarded([&] { return searchOf(search).select(maxLeaves, maxVisits, spatial, global, leaves); });
}

// 1 when all outputs were finite, 0 when not.
KA_API int ka_search_deliver(void* search, int n, const int32_t* leaves, const float* policy, const float* value, const float* score,
                             const float* ownership) {
  return guarded([&] { return searchOf(search).deliver(n, leaves, policy, value, score, ownership) ? 1 : 0; });
}

KA_API void ka_search_abandon(void* search, int n, const int32_t* leaves) { searchOf(search).abandon(n, leaves); }
KA_API int64_t ka_search_visits(void* search) { return searchOf(search).rootVisits(); }
KA_API int ka_search_in_flight(void* search) { return searchOf(search).inFlight(); }
KA_API int ka_search_is_done(void* search, int64_t maxVisits) { return searchOf(search).isDone(maxVisits) ? 1 : 0; }
KA_API int64_t ka_search_nodes(void* search) { return searchOf(search).nodeCount(); }
KA_API int64_t ka_search_virtual_losses(void* search) { return searchOf(search).virtualLosses(); }

// visits, evaluations, cache hits, terminal
KA_API void ka_search_counts(void* search, int64_t out[4]) {
  const SearchCounts counts = searchOf(search).counts();
  out[0] = counts.visits;
  out[1] = counts.evaluations;
  out[2] = counts.cacheHits;
  out[3] = counts.terminal;
}

// The name of a parameter and its default; null past the last.
KA_API const char* ka_search_param(int index, double* value) {
  const NamedParam param = searchParamAt(SearchParams(), index);
  *value = param.value;
  return param.name;
}

// ---------------------------------------------------------------- report

// options: pv length, stop pv at the end of the phase, ownership, its stdev, moves' ownership, its stdev. Null on failure.
KA_API void* ka_report_new(void* search, const int32_t options[6]) {
  ReportOptions wanted;
  wanted.pvLength = options[0];
  wanted.stopPvAtPhaseEnd = options[1] != 0;
  wanted.ownership = options[2] != 0;
  wanted.ownershipStdev = options[3] != 0;
  wanted.movesOwnership = options[4] != 0;
  wanted.movesOwnershipStdev = options[5] != 0;
  return made([&] { return new Report(makeReport(searchOf(search), wanted)); });
}
KA_API void ka_report_free(void* report) { delete static_cast<Report*>(report); }

KA_API int ka_report_has_root(const void* report) { return reportOf(report).hasRoot ? 1 : 0; }
KA_API int ka_report_move_count(const void* report) { return static_cast<int>(reportOf(report).moves.size()); }
KA_API int ka_report_chosen(const void* report) { return reportOf(report).chosen; }

// Seventeen numbers in the order below; `hashes`: low and high of the position's hash, then of the symmetric one.
KA_API void ka_report_root(const void* report, double out[17], uint64_t hashes[4]) {
  const Report& r = reportOf(report);
  const CompactEvaluation& raw = *r.raw;
  const double values[17] = {static_cast<double>(r.player),
                             static_cast<double>(r.visits),
                             r.winLoss,
                             r.noResult,
                             r.scoreMean,
                             r.scoreStdev,
                             r.lead,
                             r.utility,
                             r.weight,
                             raw.winLoss(),
                             raw.noResult,
                             raw.whiteScoreMean,
                             raw.whiteScoreMeanSq,
                             raw.whiteLead,
                             raw.varTimeLeft,
                             raw.shorttermWinlossError,
                             raw.shorttermScoreError};
  std::copy(values, values + 17, out);
  hashes[0] = r.hash.low;
  hashes[1] = r.hash.high;
  hashes[2] = r.symmetricHash.low;
  hashes[3] = r.symmetricHash.high;
}

// Fifteen numbers in the order below. Returns the length of the line of play.
KA_API int ka_report_move(const void* report, int index, double out[15]) {
  const MoveReport& m = reportOf(report).moves[index];
  const double values[15] = {static_cast<double>(m.move),
                             static_cast<double>(m.symmetryOf),
                             static_cast<double>(m.visits),
                             static_cast<double>(m.edgeVisits),
                             m.winLoss,
                             m.noResult,
                             m.scoreMean,
                             m.scoreStdev,
                             m.lead,
                             m.utility,
                             m.lcb,
                             m.utilityLcb,
                             m.prior,
                             m.weight,
                             m.playSelectionValue};
  std::copy(values, values + 15, out);
  return static_cast<int>(m.pv.size());
}

// pv[3 * length]: all moves, then visits after each, then visits through each.
KA_API void ka_report_pv(const void* report, int index, int64_t* out) {
  const std::vector<PvStep>& pv = reportOf(report).moves[index].pv;
  for (size_t i = 0; i < pv.size(); i++) {
    out[i] = pv[i].move;
    out[pv.size() + i] = pv[i].visits;
    out[2 * pv.size() + i] = pv[i].edgeVisits;
  }
}

// Ownership of the root (index -1) or a move: `mean` and `stdev` get area values each. Returns bit 0: mean, bit 1: stdev is there.
KA_API int ka_report_ownership(const void* report, int index, float* mean, float* stdev) {
  const Report& r = reportOf(report);
  const std::vector<float>& means = index < 0 ? r.ownership : r.moves[index].ownership;
  const std::vector<float>& stdevs = index < 0 ? r.ownershipStdev : r.moves[index].ownershipStdev;
  std::copy(means.begin(), means.end(), mean);
  std::copy(stdevs.begin(), stdevs.end(), stdev);
  return (means.empty() ? 0 : 1) + (stdevs.empty() ? 0 : 2);
}

// The raw policy of the root: area + 1 values.
KA_API void ka_report_policy(const void* report, float* out) {
  const CompactEvaluation& raw = *reportOf(report).raw;
  for (int p = 0; p <= raw.area(); p++) out[p] = raw.policy(static_cast<Point>(p));
}
