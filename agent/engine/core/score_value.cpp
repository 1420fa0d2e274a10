#include "score_value.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace katago_agent {

namespace {

constexpr double TWO_OVER_PI = 0.63661977236758134308;

// The table holds expectations on a 19x19 board with scale 1; other boards and scales are stretched to it.
constexpr int TABLE_SIDE = 19;
constexpr int SCORE_RADIUS = TABLE_SIDE * TABLE_SIDE + 60;  // KataGo's range of final scores (EXTRA_SCORE_DISTR_RADIUS)
constexpr int MEANS = 2 * SCORE_RADIUS;
constexpr int STDEVS = SCORE_RADIUS;
constexpr int STEPS = 10;         // integration steps for a standard deviation
constexpr int BOUND_STDEVS = 5;   // beyond which a normal distribution is nothing

// Row m, column s: the expected value for mean m - SCORE_RADIUS - 0.5 points and standard deviation s points. 842 x 421 floats.
std::vector<float> buildTable() {
  constexpr int half = BOUND_STDEVS * STEPS;
  std::vector<double> density(2 * half + 1);
  double total = 0;
  for (int i = -half; i <= half; i++) {
    double x = static_cast<double>(i) / STEPS;
    density[i + half] = std::exp(-0.5 * x * x);
    total += density[i + half];
  }
  // Values of scores in tenths of a point, so that every step of every integral falls on one of them.
  constexpr int reach = (SCORE_RADIUS + 1) * STEPS + half * STDEVS;
  std::vector<double> values(2 * reach + 1);
  for (int i = -reach; i <= reach; i++) values[i + reach] = scoreValue(static_cast<double>(i) / STEPS, 0, 1, TABLE_SIDE);

  std::vector<float> table(static_cast<size_t>(MEANS) * STDEVS);
  for (int m = 0; m < MEANS; m++) {
    int mean = (m - SCORE_RADIUS) * STEPS - STEPS / 2;
    for (int s = 0; s < STDEVS; s++) {
      double sum = 0;
      for (int i = -half; i <= half; i++) sum += density[i + half] * values[mean + s * i + reach];
      table[static_cast<size_t>(m) * STDEVS + s] = static_cast<float>(sum / total);
    }
  }
  return table;
}

}  // namespace

double scoreValue(double score, double center, double scale, double sqrtArea) {
  return std::atan((score - center) / (scale * sqrtArea)) * TWO_OVER_PI;
}

double scoreValueSlope(double score, double center, double scale, double sqrtArea) {
  double width = scale * sqrtArea;
  double distance = score - center;
  return width / (width * width + distance * distance) * TWO_OVER_PI;
}

double expectedScoreValue(double scoreMean, double scoreStdev, double center, double scale, double sqrtArea) {
  static const std::vector<float> table = buildTable();
  double stretch = TABLE_SIDE / (scale * sqrtArea);
  double mean = (scoreMean - center) * stretch + SCORE_RADIUS + 0.5;
  double stdev = scoreStdev * stretch;
  mean = std::min(std::max(mean, 0.0), static_cast<double>(MEANS - 1));
  stdev = std::min(std::max(stdev, 0.0), static_cast<double>(STDEVS - 1));
  int m = std::min(static_cast<int>(mean), MEANS - 2);
  int s = std::min(static_cast<int>(stdev), STDEVS - 2);
  double byMean = mean - m;
  double byStdev = stdev - s;
  const float* row = &table[static_cast<size_t>(m) * STDEVS + s];
  double low = row[0] + byStdev * (row[1] - row[0]);
  double high = row[STDEVS] + byStdev * (row[STDEVS + 1] - row[STDEVS]);
  return low + byMean * (high - low);
}

double scoreStdev(double scoreMean, double scoreMeanSq) {
  double variance = scoreMeanSq - scoreMean * scoreMean;
  return variance > 0 ? std::sqrt(variance) : 0;
}

}  // namespace katago_agent
