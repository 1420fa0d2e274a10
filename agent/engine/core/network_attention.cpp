// Attention: every point of a board looks at every point. Scores and what is found are matrix products by the kernels, a head and some rows
// at a time, for which keys and values are packed as weights are.
#include <algorithm>
#include <cmath>
#include <utility>

#include "network.h"

namespace katago_agent {

namespace {

// Rows of scores that are made at once: 96 of 368 floats stay in the second-level cache.
constexpr int64_t kRowsAtOnce = 96;

int64_t wholePanels(int64_t count) { return (count + kPanel - 1) / kPanel * kPanel; }

// Cosine and sine of an angle.
struct Turn {
  float cosine, sine;
};

// `channels` of a head, each pair of which is turned as the two parts of a complex number; `turns` may be null.
void turn(const float* from, const Turn* turns, int64_t channels, float* to) {
  if (!turns) {
    std::copy(from, from + channels, to);
    return;
  }
  for (int64_t pair = 0; pair < channels / 2; ++pair) {
    const float a = from[2 * pair], b = from[2 * pair + 1];
    to[2 * pair] = a * turns[pair].cosine - b * turns[pair].sine;
    to[2 * pair + 1] = a * turns[pair].sine + b * turns[pair].cosine;
  }
}

// A head's channels of points one after the other lie too far apart for the processor to fetch them ahead by itself.
constexpr int64_t kAhead = 8;

__attribute__((always_inline)) inline void fetch(const float* from, int64_t channels) {
  for (int64_t line = 0; line < channels; line += kPanel) __builtin_prefetch(from + line);
}

}  // namespace

// `turns` [x and y, place on that side, key head, pair, cosine and sine].
void Network::addAttention(int32_t to, const Attention& attention) {
  Step step{};
  step.kind = Kind::kAttention;
  step.from = attention.query;
  step.to = to;
  step.attention = attention;
  step.attention.frequencies = nullptr;
  if (attention.frequencies) {
    const int64_t pairs = attention.keyHeads * (attention.queryChannels / 2);
    step.turns.reserve(static_cast<size_t>(2 * kLongestSide * pairs * 2));
    for (int64_t axis = 0; axis < 2; ++axis) {
      for (int64_t place = 0; place < kLongestSide; ++place) {
        for (int64_t pair = 0; pair < pairs; ++pair) {
          const double angle = static_cast<double>(place) * attention.frequencies[pair * 2 + axis];
          step.turns.push_back(static_cast<float>(std::cos(angle)));
          step.turns.push_back(static_cast<float>(std::sin(angle)));
        }
      }
    }
  }
  add(std::move(step));
}

int64_t Network::attentionScratch(const Step& step, int64_t area) const {
  const Attention& of = step.attention;
  const int64_t points = wholePanels(area), values = wholePanels(of.valueChannels);
  return points * of.queryChannels + area * values + area * of.queryChannels + kRowsAtOnce * (of.queryChannels + points + values + 1);
}

void Network::attend(const Step& step, Run& run) const {
  const Attention& of = step.attention;
  const int64_t area = run.shape.area(), depth = of.queryChannels, pairs = depth / 2;
  const int64_t points = wholePanels(area), values = wholePanels(of.valueChannels), sharing = of.heads / of.keyHeads;
  float* packedKeys = run.scratch;
  float* packedValues = packedKeys + points * depth;
  Turn* turns = reinterpret_cast<Turn*>(packedValues + area * values);
  float* queries = packedValues + area * values + area * depth;
  float* scores = queries + kRowsAtOnce * depth;
  float* found = scores + kRowsAtOnce * points;
  float* sums = found + kRowsAtOnce * values;
  const auto turnOf = [&](int64_t point) { return step.turns.empty() ? nullptr : turns + point * pairs; };

  for (int64_t head = 0; head < of.keyHeads; ++head) {
    if (!step.turns.empty()) {
      const Turn* table = reinterpret_cast<const Turn*>(step.turns.data());
      for (int64_t point = 0; point < area; ++point) {
        const Turn* byX = table + (point % run.shape.xSize * of.keyHeads + head) * pairs;
        const Turn* byY = table + ((kLongestSide + point / run.shape.xSize) * of.keyHeads + head) * pairs;
        for (int64_t pair = 0; pair < pairs; ++pair) {
          turns[point * pairs + pair] = {byX[pair].cosine * byY[pair].cosine - byX[pair].sine * byY[pair].sine,
                                         byX[pair].sine * byY[pair].cosine + byX[pair].cosine * byY[pair].sine};
        }
      }
    }
    for (int64_t position = 0; position < run.shape.positions; ++position) {
      const int64_t first = position * area;
      std::fill(packedKeys, packedKeys + points * depth, 0.0f);
      std::fill(packedValues, packedValues + area * values, 0.0f);
      for (int64_t point = 0; point < area; ++point) {
        fetch(run.at(of.key) + (first + point + kAhead) * stride(of.key) + head * depth, depth);
        fetch(run.at(of.value) + (first + point + kAhead) * stride(of.value) + head * of.valueChannels, of.valueChannels);
        turn(run.at(of.key) + (first + point) * stride(of.key) + head * depth, turnOf(point), depth, queries);
        float* keys = packedKeys + point / kPanel * depth * kPanel + point % kPanel;
        for (int64_t channel = 0; channel < depth; ++channel) keys[channel * kPanel] = queries[channel];
        const float* value = run.at(of.value) + (first + point) * stride(of.value) + head * of.valueChannels;
        for (int64_t channel = 0; channel < of.valueChannels; ++channel) {
          packedValues[(channel / kPanel * area + point) * kPanel + channel % kPanel] = value[channel];
        }
      }
      for (int64_t asking = head * sharing; asking < (head + 1) * sharing; ++asking) {
        for (int64_t start = 0; start < area; start += kRowsAtOnce) {
          const int64_t count = std::min(kRowsAtOnce, area - start);
          for (int64_t row = 0; row < count; ++row) {
            const float* query = run.at(of.query) + (first + start + row) * stride(of.query) + asking * depth;
            fetch(query + kAhead * stride(of.query), depth);
            turn(query, turnOf(start + row), depth, queries + row * depth);
          }
          kernels_.multiply(queries, depth, packedKeys, depth, points / kPanel, scores, points, count);
          kernels_.powers(scores, count, area, points, sums);
          kernels_.multiply(scores, points, packedValues, area, values / kPanel, found, values, count);
          for (int64_t row = 0; row < count; ++row) {
            float* to = run.at(step.to) + (first + start + row) * stride(step.to) + asking * of.valueChannels;
            fetch(to + kAhead * stride(step.to), of.valueChannels);
            for (int64_t channel = 0; channel < of.valueChannels; ++channel) to[channel] = found[row * values + channel] / sums[row];
          }
        }
      }
    }
  }
}

}  // namespace katago_agent
