#!/usr/bin/env python3
"""A GTP engine that needs nothing but Python, plays its own side of the board and then passes, and misbehaves as told.

    gtp_engine.py [--manner MANNER] [--at N] [--once] [--lives FILE --only-life N] [--katago] [--idle] [--log FILE]

`--manner` is done at the Nth genmove of each game, or of the first one (those of `AT_START` from the first command on),
in every life of the engine or only in one: each start adds a line to the file of lives. `--katago` understands KataGo's
commands for rules and parameters, `--timed` GTP's for time; `--idle` always passes, `--log` writes down every command.
"""

import argparse
import os
import signal
import sys
from pathlib import Path

AT_START = ("mute", "stillborn", "no-gtp", "endless", "refuses-board")
COLUMNS = "ABCDEFGHJKLMNOPQRST"
BASIC = ["name", "version", "list_commands", "boardsize", "clear_board", "komi", "play", "genmove", "quit"]
KATAGO = ["kata-set-rules", "kata-set-param"]
TIMED = ["time_settings", "time_left"]


class Refused(Exception):
    """What is answered with "?"."""


class Engine:
    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.commands = BASIC + KATAGO * options.katago + TIMED * options.timed
        self.size, self.genmoves, self.taken = 19, 0, set()
        self.misbehaves = True
        if options.lives:
            self.misbehaves = self.count_life() == options.only_life or options.only_life == 0

    def count_life(self) -> int:
        with self.options.lives.open("a") as file:
            file.write(f"{os.getpid()}\n")
        return len(self.options.lives.read_text().splitlines())

    def serve(self) -> None:
        for line in sys.stdin:
            words = line.split()
            if self.options.log:
                with self.options.log.open("a") as file:
                    file.write(line)
            if self.misbehaves and self.options.manner in AT_START:
                self.misbehave_at_start(words)
            else:
                self.answer(words)
            if words[0] == "quit":
                return

    def answer(self, words: "list[str]") -> None:
        try:
            if words[0] not in self.commands:
                raise Refused("unknown command")
            say("= " + getattr(self, words[0].replace("-", "_"))(*words[1:]))
        except Refused as refusal:
            say(f"? {refusal}")

    def misbehave_at_start(self, words: "list[str]") -> None:
        manner = self.options.manner
        if manner == "stillborn":
            sys.exit("cannot find the network")
        elif manner == "no-gtp":
            print("hello\n" * 20_000, flush=True)
        elif manner == "endless":
            print("= " + "hello\n" * 400_000, flush=True)
        elif manner == "refuses-board" and words[0] == "boardsize":
            say("? unacceptable size")
        elif manner == "refuses-board":
            self.answer(words)

    def name(self) -> str:
        return self.options.name

    def version(self) -> str:
        return self.options.version

    def list_commands(self) -> str:
        return "\n".join(self.commands)

    def boardsize(self, size: str) -> str:
        self.size = int(size)
        return ""

    def clear_board(self) -> str:
        self.taken, self.genmoves = set(), 0
        return ""

    def ignore(self, *words: str) -> str:
        return ""

    komi = kata_set_rules = kata_set_param = time_settings = time_left = quit = ignore

    def play(self, color: str, move: str) -> str:
        if self.misbehaves and self.options.manner == "refuses-play" and self.genmoves >= self.options.at:
            raise Refused("illegal move")
        self.taken.add(move.upper())
        return ""

    def genmove(self, color: str) -> str:
        self.genmoves += 1
        move = next((move for move in self.plan(color) if move not in self.taken), "pass")
        if self.options.idle:
            move = "pass"
        if self.misbehaves and self.genmoves == self.options.at:
            self.misbehaves = not self.options.once
            move = self.misbehave(move)
        self.taken.add(move)
        return move

    def plan(self, color: str) -> "list[str]":
        """Two columns at the side, of which the outer one keeps every second point free for eyes."""
        outer, inner = (0, 1) if color.lower().startswith("b") else (self.size - 1, self.size - 2)
        rows = range(1, self.size + 1)
        return [f"{COLUMNS[inner]}{row}" for row in rows] + [f"{COLUMNS[outer]}{row}" for row in rows if row % 2 == 0]

    def misbehave(self, move: str) -> str:
        """What it answers instead of `move`, if it still does."""
        manner = self.options.manner
        if manner == "crash":
            print("out of memory", file=sys.stderr, flush=True)
            os._exit(3)
        if manner == "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        if manner == "hang":
            os.kill(os.getpid(), signal.SIGSTOP)
        if manner == "orphan":
            # What it started holds its output open.
            if os.fork() == 0:
                self.count_life()
                signal.pause()
            os._exit(0)
        if manner == "chatter":
            print("thinking about it\n\ninfo: done", flush=True)
        if manner == "twice":
            return f"{move}\n\n= {move}"
        if manner == "refuses-move":
            raise Refused("no idea")
        return {"nonsense": "Z99", "illegal": min(self.taken, default="A99"), "resign": "Resign"}.get(manner, move)


def say(text: str) -> None:
    print(text + "\n", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--manner", default="")
    parser.add_argument("--at", type=int, default=2)
    parser.add_argument("--once", action="store_true")
    parser.add_argument("--lives", type=Path)
    parser.add_argument("--only-life", type=int, default=0)
    parser.add_argument("--katago", action="store_true")
    parser.add_argument("--timed", action="store_true")
    parser.add_argument("--idle", action="store_true")
    parser.add_argument("--log", type=Path)
    parser.add_argument("--name", default="Fake")
    parser.add_argument("--version", default="1.0")
    Engine(parser.parse_args()).serve()


main()
