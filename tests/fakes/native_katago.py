#!/usr/bin/env python3
"""Stands in for a native `katago analysis`: answers queries with the visits asked for, or misbehaves as told.

The model file's contents say how, or the variable FAKE_KATAGO where the model must be a real one. Nothing is
well-behaved; the other manners stand in `MANNERS`. "manner after FILE" adds a line to FILE at each start and misbehaves
in the first start only. Searches of more than `ENDLESS` visits go on until they are terminated.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from pathlib import Path
from typing import Any

# Less than what the worker bounds a search's tree by.
ENDLESS = 5000
COLUMNS = "ABCDEFGHJKLMNOPQRST"
LIBRARY = "katago: error while loading shared libraries: libnever.so.7: cannot open shared object file: No such file"
MODEL = """2026-01-31 12:00:00+0000: After dedups: nnModelFile0 = {} useFP16 auto
terminate called after throwing an instance of 'StringError'
  what():  Error loading or parsing model file {}: Error while ungzipping file, Z_DATA_ERROR. Invalid file? File: {}"""
MANNERS = {
    "": "as it should",
    "human": "as it should, with a network that imitates players",
    "refuse": "refuses positions",
    "crash": "ends at once with a message",
    "library": "ends as the dynamic loader does",
    "model": "ends as KataGo does for a file that is no network",
    "illegal": "meets an illegal instruction",
    "idle": "starts and does nothing",
    "stopped": "starts and is stopped",
    "garbage": "answers positions with another kind of object",
    "die": "ends with a message when asked for a position",
    "kill": "is killed when asked for a position",
    "stop": "is stopped when asked for a position",
    "mute": "answers nothing from the first position on",
    "stuck": "never finishes a position, and answers everything else",
}


def last_words(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


class Katago:
    def __init__(self, config: dict[str, str], model: str, manner: str) -> None:
        self.config = config
        self.model = model
        self.manner = manner
        self.running: dict[str, dict[str, Any]] = {}
        self.reported: dict[str, float] = {}

    def start(self) -> None:
        if self.manner == "crash":
            sys.exit("Uncaught exception: cannot parse the model")
        if self.manner == "library":
            last_words(LIBRARY)
            sys.exit(127)
        if self.manner == "model":
            last_words(MODEL.format(self.model, self.model, self.model))
            os.kill(os.getpid(), signal.SIGABRT)
        if self.manner == "illegal":
            os.kill(os.getpid(), signal.SIGILL)
        if self.manner == "stopped":
            os.kill(os.getpid(), signal.SIGSTOP)
        if self.manner == "idle":
            signal.pause()
        last_words("2026-01-31 12:00:00+0000: Eigen (CPU) backend thread 0: Model version 8")
        print("KataGo v9.99 is here", flush=True)

    def say(self, answer: dict[str, Any]) -> None:
        print(json.dumps(answer), flush=True)

    def hear(self, query: dict[str, Any]) -> None:
        action = query.get("action")
        if action == "query_version":
            self.say({**query, "version": "9.99", "git_hash": "fake"})
        elif action == "query_models":
            model = {"name": "fake.bin.gz", "internalName": "fake", "version": 8, "usingFP16": "auto"}
            self.say({**query, "models": [{**model, "usesHumanSLProfile": self.manner == "human", "maxBatchSize": 1}]})
        elif action == "terminate":
            if self.manner != "stuck":
                self.finish(query["terminateId"])
            self.say(query)
        elif action is not None:
            self.say(query)
        else:
            self.analyze(query)

    def analyze(self, query: dict[str, Any]) -> None:
        name = query["id"]
        if self.manner == "die":
            sys.exit("out of memory")
        if self.manner == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.manner == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        if self.manner == "mute":
            signal.pause()
        if self.manner == "garbage":
            self.say({"id": name, "rootInfo": "yes"})
        if self.manner == "refuse":
            self.say({"error": "unknown rules", "field": "rules", "id": name})
            return
        self.say({"id": name, "warning": "Unexpected or unused field", "field": "komi"})
        self.running[name] = query
        self.reported[name] = time.monotonic()
        if query["maxVisits"] <= ENDLESS and self.manner != "stuck":
            self.report(name, query, during=True)
            self.finish(name)

    def finish(self, name: str) -> None:
        query = self.running.pop(name, None)
        if query is not None:
            self.report(name, query, during=False)

    def tick(self) -> None:
        for name, query in self.running.items():
            every_s = query.get("reportDuringSearchEvery", 1e9)
            if self.manner != "stuck" and time.monotonic() - self.reported[name] >= every_s:
                self.reported[name] = time.monotonic()
                self.report(name, query, during=True)

    def report(self, name: str, query: dict[str, Any], *, during: bool) -> None:
        """As one who knows nothing: the first two empty points, the second one worse, from the side to move."""
        x_size, y_size = query["boardXSize"], query["boardYSize"]
        taken = {vertex for _, vertex in query["initialStones"] + query["moves"]}
        points = [f"{COLUMNS[x]}{y_size - y}" for y in range(y_size) for x in range(x_size)]
        best = [point for point in points if point not in taken][:2]
        # What somebody measured with a bench: visits, so that the batch can be seen in them.
        visits = query["maxVisits"] if "overrideSettings" in query else query["maxVisits"] + int(self.batch)
        value = {"winrate": 0.75, "scoreLead": 2.5, "scoreSelfplay": 3.5, "scoreStdev": 10.0, "utility": 0.5}
        move = {**value, "lcb": 0.7, "utilityLcb": 0.25, "weight": 4.0, "edgeWeight": 3.0, "edgeVisits": 3, "visits": 4}
        moves = [
            {
                **move,
                "move": point,
                "order": order,
                "prior": 0.5,
                "playSelectionValue": 4.0 / (1 + order),
                "pv": [point],
            }
            for order, point in enumerate(best if query["maxVisits"] > 1 else [])
        ]
        root = {**value, "visits": 5 if during else visits, "weight": 5.0, "thisHash": "AB" * 16, "symHash": "CD" * 16}
        raw = {"rawWinrate": 0.6, "rawLead": 1.0, "rawScoreSelfplay": 2.0, "rawScoreSelfplayStdev": 3.0}
        answer: dict[str, Any] = {"id": name, "turnNumber": len(query["moves"]), "isDuringSearch": during}
        answer |= {"moveInfos": moves, "rootInfo": {**root, **raw, "rawNoResultProb": 0.1, "rawStWrError": -0.5}}
        if query.get("includePolicy"):
            answer["policy"] = [-1.0 if point in taken else 1 / (len(points) + 1) for point in points] + [0.01]
        if query.get("includeOwnership"):
            answer["ownership"] = [0.25] * len(points)
        self.say(answer)

    @property
    def batch(self) -> str:
        return self.config["nnMaxBatchSize"]


def how(model: str) -> str:
    manner = os.environ.get("FAKE_KATAGO") or Path(model).read_text(encoding="latin-1")
    manner, _, lives = manner.partition(" after ")
    if lives:
        with Path(lives).open("a", encoding="ascii") as file:
            file.write("started\n")
        manner = manner if len(Path(lives).read_text(encoding="ascii").splitlines()) == 1 else ""
    # A real network says nothing to this fake.
    return manner if manner in MANNERS else ""


def main() -> None:
    arguments = sys.argv[1:]
    if arguments == ["version"]:
        print("KataGo v9.99\nUsing Eigen(CPU) backend")
        return
    assert arguments[0] == "analysis"
    options = dict(zip(arguments[1:5:2], arguments[2:5:2], strict=True))
    config = dict(line.split(" = ", 1) for line in Path(options["-config"]).read_text().splitlines() if " = " in line)
    katago = Katago(config, options["-model"], how(options["-model"]))
    katago.start()
    buffer = b""
    while True:
        if select.select([sys.stdin], [], [], 0.02)[0]:
            data = os.read(0, 65536)
            if not data:
                return
            *lines, buffer = (buffer + data).split(b"\n")
            for line in filter(None, lines):
                katago.hear(json.loads(line))
        katago.tick()


if __name__ == "__main__":
    main()
