"""Plays our engine against GNU Go level 10 on 9×9 through `agent gtp`, and says who won each game.

    python tests/system/beat_gnugo.py --games 10 --visits 50 --network b15c192

Colours alternate. Both engines hear every move; GNU Go scores the finished game (it knows dead stones), a resignation
ends it at once. Ends with status 0 when our engine won every game. Needs `gnugo` (Debian: apt-get install gnugo).
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

# A 9×9 game between these two lasts 50 to 90 moves; beyond this something never passes.
MOVES_LIMIT = 250


class GtpEngine:
    """A GTP engine on its standard input and output."""

    def __init__(self, name: str, command: list[str]) -> None:
        self.name = name
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def ask(self, command: str) -> str:
        """The engine's answer; RuntimeError when it refuses or has gone."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        stdin.write(command + "\n")
        stdin.flush()
        lines: list[str] = []
        while line := stdout.readline():
            if line.strip():
                lines.append(line.rstrip("\n"))
            elif lines:
                break
        if not lines or not lines[0].startswith("="):
            raise RuntimeError(f"{self.name} answered {lines!r} to {command!r}")
        return "\n".join([lines[0][1:].strip(), *lines[1:]])

    def close(self) -> None:
        self.ask("quit")
        self._process.wait(timeout=30)


def play_game(ours: GtpEngine, gnugo: GtpEngine, ours_is_black: bool, komi: float) -> tuple[str, list[str]]:
    """The result ("B+3.5", "W+Resign") and the moves of one game."""
    for engine in (ours, gnugo):
        for command in ("boardsize 9", "clear_board", f"komi {komi}"):
            engine.ask(command)
    moves: list[str] = []
    passes = 0
    while passes < 2 and len(moves) < MOVES_LIMIT:
        color = "BW"[len(moves) % 2]
        player, other = (ours, gnugo) if (color == "B") == ours_is_black else (gnugo, ours)
        move = player.ask(f"genmove {color}").upper()
        if move == "RESIGN":
            return ("W" if color == "B" else "B") + "+Resign", moves
        other.ask(f"play {color} {move}")
        moves.append(move)
        passes = passes + 1 if move == "PASS" else 0
    return gnugo.ask("final_score"), moves


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--games", type=int, default=10)
    parser.add_argument("--visits", type=int, default=50)
    parser.add_argument("--network", default="b15c192")
    parser.add_argument("--komi", type=float, default=7.5)
    parser.add_argument("--agent", nargs="+", default=[sys.executable, "-m", "agent"], help="how to start our agent")
    arguments = parser.parse_args()
    gnugo_path = shutil.which("gnugo") or next((p for p in ["/usr/games/gnugo"] if Path(p).exists()), None)
    if gnugo_path is None:
        print("gnugo is missing; install it with: apt-get install gnugo", file=sys.stderr)
        return 2
    ours = GtpEngine(
        "agent",
        [*arguments.agent, "gtp", "--network", arguments.network, "--visits", str(arguments.visits)],
    )
    won = 0
    for game in range(arguments.games):
        gnugo = GtpEngine(
            "GNU Go",
            [gnugo_path, "--mode", "gtp", "--level", "10", "--chinese-rules", "--seed", str(game + 1)],
        )
        ours_is_black = game % 2 == 0
        result, moves = play_game(ours, gnugo, ours_is_black, arguments.komi)
        gnugo.close()
        we_won = result.startswith("B" if ours_is_black else "W")
        won += we_won
        print(
            f"game {game + 1}: we play {'Black' if ours_is_black else 'White'}, {result}, {len(moves)} moves",
            flush=True,
        )
        if not we_won:
            print("  " + " ".join(moves), flush=True)
    ours.close()
    print(f"won {won} of {arguments.games}")
    return 0 if won == arguments.games else 1


if __name__ == "__main__":
    sys.exit(main())
