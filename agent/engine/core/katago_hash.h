// The hash of a position that KataGo reports: clients compare it with their own (Ogatak does, and shows an alert where they
// differ), and a game that goes on with another engine keeps its hashes. Only for reports: the search uses zobrist.h.
#pragma once

#include "board.h"

namespace katago_agent {

// Of size, stones, simple ko and the player to move, as KataGo's Board::getSitHashWithSimpleKo; `high` is printed first.
Hash128 katagoHash(const Board& board, Color toPlay);

// The least of the hashes of the position's eight reflections and rotations.
Hash128 katagoSymmetricHash(const Board& board, Color toPlay);

}  // namespace katago_agent
