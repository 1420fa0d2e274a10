"""Records what a native KataGo's search finds: search.jsonl from the positions of the raw_nn files.

    python tests/golden/record_search.py KATAGO NETWORK.bin.gz > tests/golden/search.jsonl

One search thread, no symmetries, no graph search: so a search is one sequence of playouts, and ours must make the same.
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
useGraphSearch = false
wideRootNoise = 0
ignorePreRootHistory = false
logDir = {folder}
"""
# Every so many positions of each file that are not larger than this many points, and the visits for them.
FILES = {"raw_nn": 9, "raw_nn_edges": 6}
MAX_AREA = 170
VISITS = 80


def main() -> None:
    katago, network = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "analysis.cfg"
        config.write_text(CONFIG.format(folder=folder))
        command = [katago, "analysis", "-config", str(config), "-model", network]
        lines = "".join(json.dumps(query) + "\n" for query in queries())
        answered = subprocess.run(command, input=lines, stdout=subprocess.PIPE, text=True, check=True).stdout
    answers = {answer["id"]: answer for answer in map(json.loads, answered.splitlines())}
    for query in queries():
        print(json.dumps(record(query, answers[query["id"]]), separators=(",", ":")))


def queries() -> Iterator[dict[str, Any]]:
    for name, step in FILES.items():
        with gzip.open(HERE / f"{name}.jsonl.gz", "rt") as file:
            rows = [json.loads(line) for line in file]
        small = [row for row in rows if row["size"][0] * row["size"][1] <= MAX_AREA and not row["handicap"]]
        for index, row in enumerate(small[::step]):
            yield {
                "id": f"{name}-{index}",
                "boardXSize": row["size"][0],
                "boardYSize": row["size"][1],
                "rules": row["rules_full"],
                "komi": row["komi"],
                "moves": row["moves"],
                "initialPlayer": "B",
                "maxVisits": VISITS,
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
