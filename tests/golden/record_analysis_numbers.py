"""Records what a native KataGo's analysis engine finds for every field and setting that changes a search.

    python -m tests.golden.record_analysis_numbers KATAGO NETWORK.bin.gz > tests/golden/analysis_numbers.jsonl

With b15c192. One thread, no symmetries, no graph search: so ours must make the same playouts
(`tests/service/test_analysis_numbers.py`).
"""

from __future__ import annotations

import json
import sys
from typing import Any

from tests.golden.native import NativeProcess

SETTINGS = {"numAnalysisThreads": "1", "useGraphSearch": "false", "wideRootNoise": "0"}
GAME = [["b", "E5"], ["w", "C3"], ["b", "G3"], ["w", "G7"], ["b", "C6"]]
BASE = {"boardXSize": 9, "boardYSize": 9, "rules": "chinese", "moves": GAME, "maxVisits": 14}
HANDICAP = {"initialStones": [["b", "C7"], ["b", "G3"]], "moves": []}
OPENING = {"boardXSize": 19, "boardYSize": 19, "moves": [["b", "Q16"], ["w", "D4"], ["b", "Q3"]], "maxVisits": 8}
# Two walls, all points between them taken: nearly all of the policy is the pass.
WALLS = [[color, f"{column}{row}"] for color, column in (("b", "D"), ("w", "F")) for row in range(1, 10)]
BETWEEN = ("b E9", "w E1", "b E8", "w E2", "b E7", "w E3", "b E6", "w E4", "b E5", "w pass")
SETTLED = {"initialStones": WALLS, "moves": [move.split() for move in BETWEEN], "rules": "japanese", "komi": 0.5}


def over(**settings: Any) -> dict[str, Any]:
    return {"overrideSettings": settings}


def avoid(*entries: tuple[str, list[str], int]) -> list[dict[str, Any]]:
    return [{"player": player, "moves": moves, "untilDepth": depth} for player, moves, depth in entries]


QUERIES: dict[str, dict[str, Any]] = {
    "nothing": {},
    "one visit": {"maxVisits": 1},
    "two visits": {"maxVisits": 2},
    "maxPlayouts": over(maxPlayouts=7),
    "rootPolicyTemperature": {"rootPolicyTemperature": 1.7},
    "rootFpuReductionMax": {"rootFpuReductionMax": 0.0},
    "playoutDoublingAdvantage": over(playoutDoublingAdvantage=1.5),
    "playoutDoublingAdvantagePla BLACK": over(playoutDoublingAdvantage=1.5, playoutDoublingAdvantagePla="BLACK"),
    "playoutDoublingAdvantagePla WHITE": over(playoutDoublingAdvantage=1.5, playoutDoublingAdvantagePla="WHITE"),
    "with the history": over(ignorePreRootHistory=False),
    "without any history": over(ignoreAllHistory=True),
    "whiteHandicapBonus 0": {"whiteHandicapBonus": "0", **HANDICAP},
    "whiteHandicapBonus N": {"whiteHandicapBonus": "N", **HANDICAP},
    "whiteHandicapBonus N-1": {"whiteHandicapBonus": "N-1", **HANDICAP},
    "whiteHandicapBonus of moves": {"whiteHandicapBonus": "N", "moves": [["b", "C7"], ["b", "G3"], ["w", "E5"]]},
    "avoidMoves": {"avoidMoves": avoid(("w", ["E3", "G5"], 3))},
    "avoidMoves again": {"avoidMoves": avoid(("w", ["E3"], 8), ("w", ["E3", "G5"], 1))},
    "allowMoves": {"allowMoves": avoid(("w", ["E3", "pass"], 1))},
    "japanese": {"rules": "japanese", "komi": 6.5, "includeNoResultValue": True},
    "button": {"rules": "aga-button"},
    "far komi": {"komi": -20.5},
    "initialPlayer": {"initialPlayer": "w", "moves": []},
    "two moves of one player": {"moves": [["b", "E5"], ["b", "C3"]]},
    "after two passes": {"moves": [["b", "E5"], ["w", "pass"], ["b", "pass"]]},
    "after two passes and a move": {"moves": [["b", "E5"], ["w", "pass"], ["b", "pass"], ["w", "C3"]]},
    "conservativePass": {**over(conservativePass=False), "moves": [["b", "E5"], ["w", "pass"]]},
    "all that may be included": {
        "includeOwnership": True,
        "includeOwnershipStdev": True,
        "includeMovesOwnership": True,
        "includeMovesOwnershipStdev": True,
        "includePolicy": True,
        "includePVVisits": True,
    },
    "7×11": {"boardXSize": 7, "boardYSize": 11, "moves": [["b", "C3"]]},
    "from Black's side": {**over(reportAnalysisWinratesAs="BLACK"), "includeOwnership": True},
    "rules that no network knows": {"rules": {"ko": "SPIGHT"}},
    "utility": over(winLossUtilityFactor=0.5, staticScoreUtilityFactor=0.3, dynamicScoreUtilityFactor=0.0),
    "draws": {**over(drawEquivalentWinsForWhite=0.9), "komi": 7},
    "policy": over(policyOptimism=0.0, nnPolicyTemperature=1.3),
    "nnPolicyTemperature near 0": over(nnPolicyTemperature=0.02),
    "nnPolicyTemperature 0.01": {**over(nnPolicyTemperature=0.01), **OPENING},
    "nnPolicyTemperature after a pass": {**over(nnPolicyTemperature=0.5), **SETTLED},
    "an empty board": {"boardXSize": 5, "boardYSize": 5, "moves": []},
    "stones without liberties": {"initialStones": [["b", "A1"], ["w", "A2"], ["w", "B1"]], "moves": []},
    "analysisPVLen": {"analysisPVLen": 2},
    "wideRootNoise": over(wideRootNoise=0),
    "rootNumSymmetriesToSample": over(rootNumSymmetriesToSample=8),
}


def main() -> None:
    katago, network = sys.argv[1:]
    with NativeProcess(katago, "analysis", network, SETTINGS) as native:
        for name, fields in QUERIES.items():
            query = {"id": name, **BASE, **fields}
            # Evaluations of other queries would be taken, also ones with another history or under another symmetry.
            native.send(json.dumps({"id": "clear", "action": "clear_cache"}))
            native.send(json.dumps(query))
            reply = json.loads(native.lines_until(lambda text: '"rootInfo"' in text)[-1])
            print(json.dumps({"query": query, "reply": rounded(reply)}, ensure_ascii=False), flush=True)


def rounded(value: Any) -> Any:
    """Numbers to five digits after the point: more than is compared."""
    if isinstance(value, float):
        return round(value, 5)
    if isinstance(value, list):
        return [rounded(item) for item in value]
    if isinstance(value, dict):
        return {name: rounded(item) for name, item in value.items()}
    return value


if __name__ == "__main__":
    main()
