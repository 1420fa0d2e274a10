"""Records what a native KataGo's analysis engine answers, line by line: analysis.jsonl.

    python -m tests.golden.record_analysis KATAGO NETWORK.bin.gz > tests/golden/analysis.jsonl

Any small network will do: of what it finds only the names of the fields are kept. Each row is a conversation of its
own; `tests/service/test_analysis_transcripts.py` holds it with our protocol object and the scripted engine. A step is a
line, what was awaited, and the replies that came before the next line was sent, sorted, because KataGo's threads decide
when which is written; repeated reports during a search are one. `order` names the results in the order of their end.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

from tests.golden.analysis_scenarios import SCENARIOS, Scenario
from tests.golden.native import NativeProcess


class Step(NamedTuple):
    line: str
    awaited: str
    replies: list[Any]
    order: list[str]


# What stands for the network's name in the record.
NETWORK = "NETWORK"

# Asked after a line: the action is answered when all was written that the lines before it brought about at once, the
# search, as the last in the queue of the one thread, when all searches are over.
SYNC_ACTION = {"id": "sync", "action": "clear_cache"}
SYNC_SEARCH = {
    "id": "sync",
    "boardXSize": 2,
    "boardYSize": 2,
    "rules": "chinese",
    "moves": [],
    "maxVisits": 1,
    "priority": 1 - (1 << 62),
}


def main() -> None:
    katago, network = sys.argv[1:]
    for scenario in SCENARIOS:
        settings = {"numAnalysisThreads": "1", "maxVisits": "10", **scenario.settings}
        with NativeProcess(katago, "analysis", network, settings) as native:
            steps = [step._asdict() for step in converse(native, network, scenario)]
        row = {"name": scenario.name, "settings": dict(scenario.settings), "steps": steps}
        print(json.dumps(row, ensure_ascii=False), flush=True)


def converse(native: NativeProcess, network: str, scenario: Scenario) -> Iterator[Step]:
    for line, awaited in scenario.steps:
        native.send(line)
        texts = native.lines_until(lambda text: '"isDuringSearch":true' in text) if awaited == "reported" else []
        native.send(json.dumps(SYNC_SEARCH if awaited == "done" else SYNC_ACTION))
        texts += native.lines_until(lambda text: '"id":"sync"' in text)[:-1]
        replies = [json.loads(text.replace(network, NETWORK)) for text in texts]
        yield Step(line, awaited, kept(line, replies), order(replies))


def order(replies: list[Any]) -> list[str]:
    """The results in the order in which their searches ended."""
    ended = [reply for reply in replies if reply.get("isDuringSearch") is False]
    return [f"{reply['id']} {reply['turnNumber']}" for reply in ended]


def kept(line: str, replies: list[Any]) -> list[Any]:
    """The replies with what a search found reduced to names. Of reports during a search the first one of what the line
    asks for is kept."""
    shapes = [shape(reply) for reply in replies if not reply.get("isDuringSearch") or f'"id": "{reply["id"]}"' in line]
    once = [reply for number, reply in enumerate(shapes) if reply not in shapes[:number] or "moveInfos" not in reply]
    return sorted(once, key=lambda reply: json.dumps(reply, sort_keys=True))


def shape(reply: dict[str, Any]) -> dict[str, Any]:
    """A reply whose numbers of a search are replaced by the sorted names of their fields or their count."""
    found = dict(reply)
    if "moveInfos" in found:
        found["moveInfos"] = sorted({name for move in found["moveInfos"] for name in move} - {"isSymmetryOf"})
        found["rootInfo"] = sorted(found["rootInfo"])
        for name in ("ownership", "ownershipStdev", "policy"):
            if name in found:
                found[name] = len(found[name])
    return found


if __name__ == "__main__":
    main()
