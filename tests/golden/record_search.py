"""Records what a native KataGo's search finds: search.jsonl from the positions of the raw_nn files.

    python tests/golden/record_search.py KATAGO NETWORK.bin.gz > tests/golden/search.jsonl

One search thread, no symmetries: so a search is one sequence of playouts, and ours must make the same. One search in
four takes a tree instead of the graph that is KataGo's default.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
CONFIG = """numAnalysisThreads = 1
numSearchThreadsPerAnalysisThread = 1
nnMaxBatchSize = 1
reportAnalysisWinratesAs = WHITE
nnRandomize = false
wideRootNoise = 0
ignorePreRootHistory = false
logDir = {folder}
"""
# Every so many positions of each file that are not larger than this many points, and the visits for them.
FILES = {"raw_nn": 9, "raw_nn_edges": 6}
MAX_AREA = 170
VISITS = 80
# More searches by the line of their file, from 0: a whole board, and games that passes lead into the encore.
LINES = {"raw_nn": (78,), "raw_nn_encore": (4, 24, 46, 90)}
ENCORE = "raw_nn_encore"
LINES_VISITS = 60
# Every so many searches one without shared nodes.
TREE_STEP = 4


def main() -> None:
    katago, network = sys.argv[1:]
    for encore in (False, True):
        asked = [query for query in searches() if query["id"].startswith(ENCORE) == encore]
        answers = search(katago, network, asked, encore=encore)
        for query in asked:
            row = record(query, answers[query["id"]]) | {"preventEncore": not encore}
            print(json.dumps(row, separators=(",", ":")))


def search(katago: str, network: str, asked: list[dict[str, Any]], *, encore: bool) -> dict[str, dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "analysis.cfg"
        config.write_text(CONFIG.format(folder=folder) + ("preventCleanupPhase = false\n" if encore else ""))
        command = [katago, "analysis", "-config", str(config), "-model", network]
        lines = "".join(json.dumps(query) + "\n" for query in asked)
        answered = subprocess.run(command, input=lines, stdout=subprocess.PIPE, text=True, check=True).stdout
    return {answer["id"]: answer for answer in map(json.loads, answered.splitlines())}


def searches() -> Iterator[dict[str, Any]]:
    for number, query in enumerate(queries(), 1):
        yield query | ({} if number % TREE_STEP else {"overrideSettings": {"useGraphSearch": False}})


def queries() -> Iterator[dict[str, Any]]:
    for name, step in FILES.items():
        small = [row for row in read(name) if row["size"][0] * row["size"][1] <= MAX_AREA and not row["handicap"]]
        for index, row in enumerate(small[::step]):
            yield query_of(row, f"{name}-{index}", VISITS)
    for name, lines in LINES.items():
        rows = read(name)
        for line in lines:
            yield query_of(rows[line], f"{name}-line-{line}", LINES_VISITS)


def read(name: str) -> list[dict[str, Any]]:
    with gzip.open(HERE / f"{name}.jsonl.gz", "rt") as file:
        return [json.loads(line) for line in file]


def query_of(row: dict[str, Any], name: str, visits: int) -> dict[str, Any]:
    return {
        "id": name,
        "boardXSize": row["size"][0],
        "boardYSize": row["size"][1],
        "rules": row["rules_full"],
        "komi": row["komi"],
        "moves": row["moves"],
        "initialPlayer": "B",
        "maxVisits": visits,
        "includeOwnership": True,
    }


def record(query: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
    root, kept = answer["rootInfo"], ("winrate", "scoreLead", "scoreSelfplay", "scoreStdev", "utility", "weight")
    fields = ("move", "visits", "edgeVisits", "lcb", "utilityLcb", "prior", "playSelectionValue", *kept)
    return {
        "query": query,
        "root": {name: round(root[name], 5) for name in kept},
        "moves": [
            {name: move[name] if name == "move" else round(move[name], 5) for name in fields} | {"pv": move["pv"]}
            for move in answer["moveInfos"][:6]
        ],
        "ownership": [round(value, 3) for value in answer["ownership"]],
    }


if __name__ == "__main__":
    main()
