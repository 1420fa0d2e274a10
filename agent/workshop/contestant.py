"""Who plays in a match between GTP engines, and under which settings. Pure. Start at `Contestant`."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path

import msgspec

from agent.engine.rules import Rules, parse_rules, rules_to_json
from agent.errors import RulesError
from agent.model import disk


class Contestant(msgspec.Struct, frozen=True):
    """`command` is a program and its arguments, `setup` GTP commands that it gets before every game. Without a `name`
    it is called as it calls itself. `visits` is a limit that it is told where it knows KataGo's parameters."""

    command: tuple[str, ...]
    name: str = ""
    setup: tuple[str, ...] = ()
    visits: int | None = None


class Patience(msgspec.Struct, frozen=True):
    """After how many seconds without an answer an engine counts as hung."""

    # KataGo with OpenCL tunes itself for minutes at its first start, and loads the network before its first answer.
    start_s: float = 900.0
    # A command that is no search: native KataGo loads its network anew for another board size.
    command_s: float = 120.0
    move_s: float = 600.0


class GameSettings(msgspec.Struct, frozen=True):
    """What both engines are told. `rules` is a name or text that KataGo reads; `seconds_per_move` None means no clock.
    A game of more than `most_moves`, the opening's included, is a draw."""

    size: int
    komi: float
    rules: str
    most_moves: int
    seconds_per_move: float | None = None

    def judged_by(self) -> Rules:
        """The rules by which the referee judges, and which the players are told: two passes end a game only when the
        board tells who won, so that players take dead stones off before they pass.

        Raises:
            RulesError: none that KataGo reads, or such that the board alone does not tell who won.
        """
        rules = parse_rules(self.rules)
        if rules.scoring != "AREA":
            raise RulesError(
                f"under {self.rules} rules nobody but the players can say which stones are dead",
                fix="Use area scoring, such as tromp-taylor: there a game is over when the board tells who won.",
            )
        return msgspec.structs.replace(rules, friendly_pass_ok=False)

    def told_rules(self) -> str:
        """The rules as kata-set-rules takes them."""
        return rules_to_json(self.judged_by())


def read_command(text: str) -> tuple[str, ...] | None:
    """`text` as a command line, where it is one: several words, or one that names a program. None for what may be a
    network: a file that is no program, or a name of the catalogue.

    Raises:
        ValueError: a quotation without an end.
    """
    if disk.is_file(Path(text)) and not _is_program(text):
        return None
    words = shlex.split(text)
    return tuple(words) if len(words) > 1 or (words and _is_program(words[0])) else None


def command_line(command: Sequence[str]) -> str:
    """As a shell reads it."""
    return shlex.join(command)


def _is_program(word: str) -> bool:
    # A network that was copied from a disk without permissions looks like a program.
    return shutil.which(word) is not None and not word.endswith((".gz", ".onnx"))
