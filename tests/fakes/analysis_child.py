"""Stands in for an analysis engine on standard input and output; the first argument says how it behaves.

"well" answers; "dies" ends with a message when asked for a position; "dies once FILE" does so the first time only;
"mute" says nothing; "gtp" speaks another protocol; "chatty" prints lines of its own first; "stays FILE" writes its
process id and ends neither with its input nor with SIGTERM; "waits FILE" writes it when asked for a position, and never
answers; "late" answers when it has heard six queries; "skips" has looked at all positions but the last one of a query
when somebody terminates it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from fakes.analysis_answers import Fields, no_results, report


def main() -> None:
    manner = sys.argv[1]
    late: list[Fields] = []
    if manner == "stays":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        Path(sys.argv[2]).write_text(str(os.getpid()))
    if manner == "chatty":
        print("Welcome to the board of directors", flush=True)
    for line in sys.stdin:
        if manner == "gtp":
            print("? unknown command\n", flush=True)
            continue
        query = json.loads(line)
        if manner == "mute":
            continue
        if "action" in query:
            print(json.dumps({**query, "version": "9.99"}), flush=True)
            continue
        if manner == "dies" or (manner == "dies once" and not Path(sys.argv[2]).exists()):
            if len(sys.argv) > 2:
                Path(sys.argv[2]).touch()
            sys.exit("out of memory: the cat sat on the board")
        if manner == "waits":
            Path(sys.argv[2]).write_text(str(os.getpid()))
            continue
        if manner == "late":
            late.append(query)
            for each in late if len(late) == 6 else []:
                print(json.dumps(report(each)), flush=True)
            continue
        turns = query.get("analyzeTurns", [len(query["moves"])])
        for turn in turns:
            is_skipped = manner == "skips" and turn == turns[-1]
            print(json.dumps(no_results(query, turn) if is_skipped else report(query, turn)), flush=True)
    if manner == "stays":
        signal.pause()


main()
