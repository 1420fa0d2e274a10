"""Compares `agent gtp` with native KataGo on every golden position: kata-raw-nn 0 after the usual set-up commands.

    python tests/system/golden_gtp.py --net b15c192 tests/golden/raw_nn.jsonl.gz tests/golden/raw_nn_edges.jsonl.gz
    python tests/system/golden_gtp.py --net b15c192 --encore tests/golden/raw_nn_encore.jsonl.gz

Prints the largest difference of each output beside its bound; ends with status 0 when every position is within all.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from beat_gnugo import GtpEngine

# The bounds of fp32 parity with native KataGo; golden values are printed with 6, 3 and 7 decimals.
BOUNDS = {"policy": 1e-4, "win": 1e-4, "lead": 0.01, "score": 0.01, "ownership": 1e-3, "legality": 0.0}


def set_up(engine: GtpEngine, position: dict[str, Any]) -> None:
    x_size, y_size = position["size"]
    engine.ask(f"rectangular_boardsize {x_size} {y_size}")
    engine.ask("clear_board")
    rules = position["rules"]
    engine.ask(f"kata-set-rules {rules if isinstance(rules, str) else json.dumps(rules)}")
    engine.ask(f"komi {position['komi']}")
    if position["handicap"]:
        engine.ask("set_free_handicap " + " ".join(position["handicap"]))
    for color, move in position["moves"]:
        engine.ask(f"play {color} {move}")


def parse_raw(text: str) -> dict[str, Any]:
    """The fields of a kata-raw-nn answer; policy and ownership are flat lists from the top left, None for NAN."""
    found: dict[str, Any] = {"policy": [], "whiteOwnership": []}
    table = ""
    for line in text.splitlines():
        words = line.split()
        if words[0] in ("policy", "whiteOwnership"):
            table = words[0]
        elif words[0][0].isalpha() and words[0] != "NAN":
            found[words[0]] = float(words[1])
        else:
            found[table] += [None if word == "NAN" else float(word) for word in words]
    return found


def differences(ours: dict[str, Any], native: dict[str, Any]) -> dict[str, float]:
    policies = list(zip([*ours["policy"], ours["policyPass"]], [*native["policy"], native["policyPass"]], strict=True))
    return {
        "policy": max(abs(a - b) for a, b in policies if a is not None and b is not None),
        "win": max(abs(ours[key] - native[key]) for key in ("whiteWin", "whiteLoss", "noResult")),
        "lead": abs(ours["whiteLead"] - native["whiteLead"]),
        "score": abs(ours["whiteScoreSelfplay"] - native["whiteScoreSelfplay"]),
        "ownership": max(abs(a - b) for a, b in zip(ours["whiteOwnership"], native["whiteOwnership"], strict=True)),
        "legality": float(sum((a is None) != (b is None) for a, b in policies)),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--net", required=True, help="the network's key in the golden file, and its catalogue name")
    parser.add_argument("--network", help="a path or name to give to the agent instead of --net")
    parser.add_argument("--encore", action="store_true", help="set preventCleanupPhase=false")
    parser.add_argument("--agent", nargs="+", default=[sys.executable, "-m", "agent"], help="how to start our agent")
    arguments = parser.parse_args()
    command = [*arguments.agent, "gtp", "--network", arguments.network or arguments.net]
    if arguments.encore:
        command += ["--override-config", "preventCleanupPhase=false"]
    engine = GtpEngine("agent", command)
    worst = dict.fromkeys(BOUNDS, 0.0)
    count = bad = 0
    for file in arguments.files:
        for number, line in enumerate(gzip.decompress(file.read_bytes()).splitlines(), 1):
            position = json.loads(line)
            if arguments.net not in position["nets"]:
                continue
            set_up(engine, position)
            found = differences(parse_raw(engine.ask("kata-raw-nn 0")), position["nets"][arguments.net])
            count += 1
            over = {key: value for key, value in found.items() if value > BOUNDS[key]}
            if over:
                bad += 1
                print(f"{file.name}:{number} {position['size']} {position['rules']}: {over}", flush=True)
            worst = {key: max(worst[key], found[key]) for key in BOUNDS}
    engine.close()
    print(f"{arguments.net}: {count} positions, {bad} out of bounds")
    for key, bound in BOUNDS.items():
        print(f"  {key:10} worst {worst[key]:.2e}  bound {bound:.0e}")
    return 0 if count and not bad else 1


if __name__ == "__main__":
    sys.exit(main())
