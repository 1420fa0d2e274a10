"""Asks a native `katago gtp` process for raw network answers (kata-raw-nn 0). Its configuration is ours and goes with
it; the owner's own is not touched."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from agent.engine.messages import Position
from agent.engine.native_katago import START_S, Watchdog
from agent.engine.points import color_letter, vertex
from agent.engine.rules import rules_to_json
from agent.errors import BenchFailed
from agent.events import Reporter, WorkshopProgress
from agent.workshop.golden import NativeAnswer

_TABLES = ("policy", "whiteOwnership")
_LAST_WORDS = 400
_FIX = "Check the path after --native, or leave it out."
_CONFIG = {
    "logToStderr": "false",
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
    with tempfile.TemporaryDirectory(prefix="katago-agent-verify-") as name:
        folder = Path(name)
        config = folder / "gtp.cfg"
        settings = {**_CONFIG, "logDir": folder / "logs", "homeDataDir": folder / "home"}
        config.write_text("".join(f"{key} = {value}\n" for key, value in settings.items()))
        with (folder / "stderr").open("w+", encoding="utf-8", errors="replace") as errors:
            try:
                process = subprocess.Popen(
                    [str(command), "gtp", "-config", str(config), "-model", str(network)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    cwd=folder,
                    text=True,
                )
            except OSError as error:
                raise BenchFailed(f"{command} does not start: {error.strerror}", fix=_FIX) from error
            try:
                answers = []
                for number, position in enumerate(positions):
                    reporter.report(WorkshopProgress("native KataGo", number, len(positions)))
                    answers.append(_answer(process, position, optimism))
                return answers
            except (OSError, ValueError, KeyError, msgspec.ValidationError) as error:
                errors.seek(0)
                said = errors.read()[-_LAST_WORDS:].strip() or str(error)
                raise BenchFailed(f"native katago gave no answer: {said}", fix=_FIX) from error
            finally:
                process.kill()
                process.communicate()


def _answer(process: subprocess.Popen[str], position: Position, optimism: float) -> NativeAnswer:
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
    return _parse(_ask(process, f"kata-raw-nn 0 {optimism}"))


def _ask(process: subprocess.Popen[str], command: str) -> list[str]:
    """The lines of the answer. Raises BenchFailed for one that begins with "?", ValueError where the process ended."""
    assert process.stdin is not None and process.stdout is not None
    watchdog = Watchdog(process, START_S)
    try:
        process.stdin.write(command + "\n")
        process.stdin.flush()
        lines: list[str] = []
        for line in process.stdout:
            if not line.strip():
                if lines:
                    break
                continue
            lines.append(line.strip())
        else:
            raise ValueError("it ended")
    finally:
        watchdog.cancel()
    if not lines[0].startswith("="):
        raise BenchFailed(f"native katago refused {json.dumps(command)}: {lines[0]}", fix=_FIX)
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
