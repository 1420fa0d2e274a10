"""Whether our analysis service in front of a katago tells what that katago tells a client of its own, digit for digit.

    PYTHONPATH=.:tests python tests/system/native_compare.py --katago /path/to/katago --network small.bin.gz

Both are asked the bench's ten positions and some odd ones, with everything that can be included. So that both search
alike, katago has one thread, does not turn the board at random, and evaluates one position at a time: in a batch, sums
come in another order. Printed are the fields that
are there on one side only and the values that differ, with how much; the exit status is 0 where there are none.
"""

from __future__ import annotations

import argparse
import json
import math
import shlex
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import yaml

from agent.engine.bench import load_positions
from agent.settings import data_folder, own_command

INCLUDE = (
    *("includeOwnership", "includeOwnershipStdev", "includeMovesOwnership", "includeMovesOwnershipStdev"),
    *("includePolicy", "includePVVisits", "includeNoResultValue"),
)
# Both round to nine digits; where one turns a value before it rounds, the last digit may be another.
LAST_DIGIT = 2e-8
ODD: tuple[dict[str, Any], ...] = (
    {"moves": [], "rules": "japanese", "komi": 6.5, "boardXSize": 13, "boardYSize": 9},
    {"moves": [["B", "C3"], ["W", "G7"], ["B", "pass"]], "rules": "aga", "boardXSize": 9, "boardYSize": 9},
    {
        "moves": [["W", "E5"]],
        "initialStones": [["B", "C3"], ["B", "G7"]],
        "rules": {"ko": "SITUATIONAL", "scoring": "TERRITORY", "tax": "ALL", "suicide": False},
        "komi": 0.5,
        "boardXSize": 9,
        "boardYSize": 9,
        "avoidMoves": [{"player": "B", "moves": ["C7", "pass"], "untilDepth": 3}],
    },
    {
        "moves": [["B", "E5"]],
        "rules": "chinese",
        "boardXSize": 9,
        "boardYSize": 9,
        "allowMoves": [{"player": "W", "moves": ["C7", "G3"], "untilDepth": 1}],
        "overrideSettings": {"wideRootNoise": 0, "cpuctExploration": 1.5, "rootPolicyTemperature": 1.2},
        "analysisPVLen": 3,
    },
    {"moves": [["B", "E5"]], "rules": "tromp-taylor", "komi": -30, "boardXSize": 9, "boardYSize": 9, "maxVisits": 1},
)


def queries(visits: int) -> Iterator[dict[str, Any]]:
    """Ids are numbers. wideRootNoise is off: it is drawn anew by each."""
    bench = [msgspec.to_builtins(position) for position in load_positions()]
    for number, position in enumerate((*bench, *ODD)):
        settings = {"overrideSettings": {"wideRootNoise": 0}}
        yield {"id": str(number), "maxVisits": visits, **dict.fromkeys(INCLUDE, True), **settings, **position}


def answers(command: Sequence[str], asked: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The final answers by id, asked one after the other: what katago has cached changes sums."""
    found: dict[str, dict[str, Any]] = {}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=sys.stderr) as process:
        assert process.stdin is not None and process.stdout is not None
        for query in asked:
            process.stdin.write(json.dumps(query).encode() + b"\n")
            process.stdin.flush()
            while query["id"] not in found:
                answer = json.loads(process.stdout.readline())
                if not answer.get("isDuringSearch") and "warning" not in answer:
                    found[answer["id"]] = answer
    return found


def values(answer: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of an answer with its place, such as rootInfo.winrate or moveInfos[2].pv[0]."""
    if isinstance(answer, dict):
        for key, value in answer.items():
            yield from values(value, f"{place}.{key}" if place else key)
    elif isinstance(answer, list):
        for index, value in enumerate(answer):
            yield from values(value, f"{place}[{index}]")
    else:
        yield place, answer


def compare(ours: dict[str, Any], theirs: dict[str, Any], counts: Counter[str]) -> Iterator[str]:
    """A line for each difference beyond a last digit; `counts` gets how many values there were of each kind."""
    own, other = dict(values(ours)), dict(values(theirs))
    for place in sorted(own.keys() ^ other.keys()):
        yield f"{place}: only {'ours' if place in own else 'katago'} has it"
    for place in own.keys() & other.keys():
        a, b = own[place], other[place]
        is_same = a == b and (isinstance(a, float | int) == isinstance(b, float | int))
        is_close = isinstance(a, float | int) and isinstance(b, float | int) and math.isclose(a, b, rel_tol=LAST_DIGIT)
        counts["same" if is_same else "last digit" if is_close else "different"] += 1
        if not is_same and not is_close:
            yield f"{place}: ours {a!r}, katago {b!r}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--katago", type=Path, required=True)
    parser.add_argument("--network", type=Path, required=True)
    parser.add_argument("--visits", type=int, default=50)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="native-compare-") as name:
        folder = Path(name)
        steady = folder / "katago"
        program = shlex.quote(str(options.katago.absolute()))
        steady.write_text(f'#!/bin/sh\nexec {program} "$@" -override-config nnRandomize=false,nnMaxBatchSize=1\n')
        steady.chmod(0o755)
        config = folder / "agent.yaml"
        settings = {"state_dir": str(folder / "state"), "network": str(options.network.absolute()), "threads": 1}
        config.write_text(yaml.safe_dump({**settings, "engine": {"path": str(steady), "fallback": False}}))
        asked = list(queries(options.visits))
        ours = answers([*own_command(), "analysis", "--config", str(config)], asked)
        cfg = data_folder("profiles") / "generic.cfg"
        one = "numAnalysisThreads=1,numSearchThreads=1,nnMaxBatchSize=1,nnCacheSizePowerOfTwo=14,maxTime=1e20"
        own = f"{one},homeDataDir={folder}/home,reportAnalysisWinratesAs=SIDETOMOVE"
        direct = [str(steady), "analysis", "-config", str(cfg), "-model", str(options.network.absolute())]
        theirs = answers([*direct, "-override-config", own], asked)
    counts: Counter[str] = Counter()
    differences = [
        f"query {name}: {difference}" for name in ours for difference in compare(ours[name], theirs[name], counts)
    ]
    print("\n".join(differences[:50]))
    print(f"{len(asked)} positions, {sum(counts.values())} values: {dict(counts)}, {len(differences)} differences")
    sys.exit(1 if differences else 0)


if __name__ == "__main__":
    main()
