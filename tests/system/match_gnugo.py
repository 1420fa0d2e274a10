"""Plays `agent match` between a network and GNU Go, kills it half-way, lets it go on, and checks all that it left.

    python tests/system/match_gnugo.py --games 6 --visits 50 --network b15c192

Ends with status 0 when we won every game and no engine failed, every game stands in the journal once and as SGF, and
each record is the game that the journal holds. Needs `gnugo` (Debian: apt-get install gnugo).
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from agent.settings import own_command
from agent.workshop.sgf import read_record

# Under our rules the board is counted as it lies.
GNUGO_OPTIONS = "--mode gtp --level 10 --chinese-rules --positional-superko --capture-all-dead"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--games", type=int, default=6)
    parser.add_argument("--visits", type=int, default=50)
    parser.add_argument("--network", default="b15c192")
    parser.add_argument("--concurrency", type=int, default=2)
    parser.add_argument("--config", help="an agent.yaml to use")
    arguments = parser.parse_args()
    gnugo = shutil.which("gnugo") or next((path for path in ["/usr/games/gnugo"] if Path(path).exists()), None)
    if gnugo is None:
        print("gnugo is missing; install it with: apt-get install gnugo", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        journal, records = Path(folder) / "match.jsonl", Path(folder) / "sgf"
        command = [*own_command(), "match"]
        command += [arguments.network, f"{gnugo} {GNUGO_OPTIONS}", "--first-name", "ours", "--json"]
        command += ["--games", str(arguments.games), "--visits", str(arguments.visits)]
        command += ["--concurrency", str(arguments.concurrency), "--out", str(journal), "--sgf", str(records)]
        command += ["--config", arguments.config] if arguments.config else []
        kill_at(command, arguments.games // 2)
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        result = json.loads(done.stdout.splitlines()[-1])
        print(json.dumps(result, indent=2))
        return check(result, journal, records)


def kill_at(command: list[str], games: int) -> None:
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as match:
        assert match.stdout is not None
        for line in match.stdout:
            told = json.loads(line)
            print(told, flush=True)
            if told.get("what") == "match" and told["done"] >= games:
                match.send_signal(signal.SIGKILL)
                break


def check(result: dict[str, object], journal: Path, records: Path) -> int:
    games = [json.loads(line) for line in journal.read_text().splitlines()[1:]]
    bad = [game for game in games if game["score"] < 1 or game["fault"]]
    for game in bad:
        print(f"not won: {game}")
    names = {(game["pair"], game["first_is_black"]) for game in games}
    complete = len(names) == len(games) == result["elo"]["games"]  # type: ignore[index]
    for game in games:
        record = records / f"{game['pair'] + 1:04}{'a' if game['first_is_black'] else 'b'}.sgf"
        complete = complete and [point for _, point in read_record(record).position.moves] == game["moves"]
    print(f"{len(games)} games, {len(bad)} not won; journal and records {'agree' if complete else 'DIFFER'}")
    return 0 if complete and not bad else 1


if __name__ == "__main__":
    sys.exit(main())
