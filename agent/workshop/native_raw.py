"""Asks a native `katago gtp` process for raw network answers (kata-raw-nn 0)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from agent.engine.messages import Position
from agent.engine.native_process import START_S, NativeProcess
from agent.engine.points import color_letter, vertex
from agent.engine.rules import rules_to_json
from agent.events import Reporter, WorkshopProgress
from agent.workshop.golden import NativeAnswer

_TABLES = ("policy", "whiteOwnership")
_FIX = "Check the path after --native, or leave it out."
_CONFIG = {
    "logAllGTPCommunication": "false",
    "logSearchInfo": "false",
    "rules": "tromp-taylor",
    "maxVisits": 1,
    "numSearchThreads": 1,
    "ponderingEnabled": "false",
}


def ask_native(
    command: Path, network: Path, positions: Sequence[Position], optimism: float, reporter: Reporter
) -> list[NativeAnswer]:
    """What native KataGo's fp32 says of each position, on `network` (.bin.gz).

    Raises:
        BenchFailed: it does not start, refuses a position, or hangs; ends with its last words.
    """
    with NativeProcess(command, "gtp", network, _CONFIG, fix=_FIX) as process:
        answers = []
        for number, position in enumerate(positions):
            reporter.report(WorkshopProgress("native KataGo", number, len(positions)))
            answers.append(_answer(process, position, optimism))
        return answers


def _answer(process: NativeProcess, position: Position, optimism: float) -> NativeAnswer:
    x_size, y_size = position.x_size, position.y_size
    commands = [
        f"rectangular_boardsize {x_size} {y_size}",
        "clear_board",
        f"kata-set-rules {rules_to_json(position.rules)}",
        f"komi {position.komi}",
    ]
    if position.initial_stones:
        stones = " ".join(vertex(point, x_size, y_size) for _, point in position.initial_stones)
        commands.append(f"set_free_handicap {stones}")
    commands += [f"play {color_letter(color)} {vertex(point, x_size, y_size)}" for color, point in position.moves]
    for command in commands:
        _ask(process, command)
    lines = _ask(process, f"kata-raw-nn 0 {optimism}")
    try:
        return _parse(lines)
    except (ValueError, KeyError, IndexError, msgspec.ValidationError) as error:
        raise process.failed(f"native katago gave no answer: {error}") from error


def _ask(process: NativeProcess, command: str) -> list[str]:
    """The lines of the answer. Raises BenchFailed for one that begins with "?"."""
    with process.patience(START_S):
        process.send(command)
        lines: list[str] = []
        # An answer ends with an empty line.
        while (line := process.line().strip()) or not lines:
            if line:
                lines.append(line)
    if not lines[0].startswith("="):
        raise process.failed(f"native katago refused {json.dumps(command)}: {lines[0]}")
    return [lines[0][1:].strip(), *lines[1:]]


def _parse(lines: Sequence[str]) -> NativeAnswer:
    """Names with a number each, and two tables of numbers after their names."""
    found: dict[str, Any] = {name: [] for name in _TABLES}
    table = ""
    for words in (line.split() for line in lines if line):
        if words[0] in _TABLES:
            table = words[0]
        elif words[0][0].isalpha() and words[0] != "NAN":
            found[words[0]] = float(words[1])
        else:
            found[table] += [None if word == "NAN" else float(word) for word in words]
    return msgspec.convert(found, NativeAnswer, strict=False)
