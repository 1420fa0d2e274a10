// What a search found, read from its tree at one moment: values of the root and of each move, the move to play, lines of play,
// ownership. Start at `makeReport`. Everything is from White's side; the reader turns it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "search.h"

namespace katago_agent {

struct ReportOptions {
  int pvLength = 15;              // moves after the first
  bool stopPvAtPhaseEnd = false;  // for games that never enter the encore
  bool ownership = false;
  bool ownershipStdev = false;
  bool movesOwnership = false;
  bool movesOwnershipStdev = false;
};

struct PvStep {
  Point move;
  int64_t visits;      // of the position after the move
  int64_t edgeVisits;  // through this move
};

struct MoveReport {
  Point move = NO_POINT;
  Point symmetryOf = NO_POINT;  // the searched move that this one mirrors
  int64_t visits = 0;           // of the position after the move
  int64_t edgeVisits = 0;       // playouts through the move: what KataGo reports as visits
  double winLoss = 0;           // -1..1
  double noResult = 0;
  double scoreMean = 0;
  double scoreStdev = 0;
  double lead = 0;
  double utility = 0;
  double lcb = 0;         // of the win rate 0..1
  double utilityLcb = 0;
  double prior = 0;
  double weight = 0;  // of all visits
  double playSelectionValue = 0;
  std::vector<PvStep> pv;
  std::vector<float> ownership;       // area or empty
  std::vector<float> ownershipStdev;  // area or empty
};

struct Report {
  bool hasRoot = false;  // false: nothing was evaluated yet
  Color player = BLACK;
  int64_t visits = 0;
  double winLoss = 0;
  double noResult = 0;
  double scoreMean = 0;
  double scoreStdev = 0;
  double lead = 0;
  double utility = 0;
  double weight = 0;
  SharedEvaluation raw;  // the root's evaluation
  Hash128 hash;          // of the position
  Hash128 symmetricHash; // the same for all its symmetries
  std::vector<MoveReport> moves;  // best first
  Point chosen = NO_POINT;
  std::vector<float> ownership;
  std::vector<float> ownershipStdev;
};

// Safe while the search runs. Draws a random number only for the choice of the move.
Report makeReport(Search& search, const ReportOptions& options);

}  // namespace katago_agent
