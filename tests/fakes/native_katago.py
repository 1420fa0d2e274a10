#!/usr/bin/env python3
"""Stands in for a native `katago analysis`: answers queries with the visits asked for, or misbehaves as told.

The model file's contents say how: empty is well-behaved; "refuse" refuses positions, "die" ends when asked for one,
"crash" ends at once with a message.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main() -> None:
    arguments = sys.argv[1:]
    assert arguments[0] == "analysis"
    options = dict(zip(arguments[1::2], arguments[2::2], strict=True))
    config = dict(line.split(" = ", 1) for line in Path(options["-config"]).read_text().splitlines())
    manner = Path(options["-model"]).read_text()
    if manner == "crash":
        sys.exit("Uncaught exception: cannot parse the model")
    print("KataGo v9.99 is here", flush=True)
    for line in sys.stdin:
        query = json.loads(line)
        answer = {"id": query["id"]}
        if query.get("action") == "query_version":
            answer["version"] = "9.99"
        elif "action" not in query:
            if manner == "die":
                sys.exit("out of memory")
            if manner == "refuse":
                answer = {"error": "unknown rules", "id": query["id"]}
            else:
                assert query["analyzeTurns"] == [len(query["moves"])]
                print(json.dumps({"id": query["id"], "warning": "Unexpected or unused field", "field": "komi"}))
                print(json.dumps({"id": query["id"], "isDuringSearch": True}))
                answer["rootInfo"] = {"visits": query["maxVisits"] + int(config["nnMaxBatchSize"])}
        print(json.dumps(answer), flush=True)


main()
