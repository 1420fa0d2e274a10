// What points are worth beside winning: a value in (-1,1) that grows ever more slowly with the lead.
// Start at `expectedScoreValue`. Pure functions of numbers; knows no game.
#pragma once

namespace katago_agent {

// atan-shaped value of a White lead of `score` points, seen from `center`: (2/pi) atan((score - center) / (scale * sqrtArea)).
double scoreValue(double score, double center, double scale, double sqrtArea);
// Its derivative by score, per point.
double scoreValueSlope(double score, double center, double scale, double sqrtArea);
// Its expectation where the score is normally distributed. From a table, interpolated: exact to about 1e-3.
double expectedScoreValue(double scoreMean, double scoreStdev, double center, double scale, double sqrtArea);
// Standard deviation from mean and mean of squares; 0 where rounding made the variance negative.
double scoreStdev(double scoreMean, double scoreMeanSq);

}  // namespace katago_agent
