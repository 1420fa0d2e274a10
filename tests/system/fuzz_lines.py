"""Lines that are almost what a client would send: valid ones of both protocols with something wrong. Seeded, no I/O."""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Sequence
from typing import Any

from golden.analysis_scenarios import SCENARIOS

from agent.service.gtp_commands import COMMANDS

_ARGUMENTS = """b w B black White D4 pass resign A1 T19 Z99 I9 (3,3) (-1,99) 0 1 3 7 10 19 -1 6.5 7.5 1e9 1e400 nan inf
0x10 9999999999 99999999999999999999 +5 # all dead alive seki 9:9 9 13 19x19 ownership true false pvVisits
movesOwnership rootInfo interval 5 avoid allow minmoves maxmoves {} [] {"ko":"SIMPLE"} {"ko": chinese japanese
tromp-taylor kgs foo
fischer byoyomi canadian absolute none maxVisits wideRootNoise 0.04 auto \x00 \x01 \t é 囲碁 " ' \\"""
WORDS = _ARGUMENTS.replace("\n", " ").split(" ")

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 5, 9, 19, 20, 1 << 31, 1 << 62, 1 << 70, 0.5, 1e300, -0.0, 7.5, 10.0),
    *("", "b", "w", "C3", "pass", "(0,0)", "chinese", "x" * 50, "\ud800", "é", "terminate", "terminate_all", "q"),
    *([], {}, [[]], [["b", "C3"]], [["b", "pass"], ["w", "pass"]], ["C3"], [0, 1], {"a": 1}, [None]),
    [{"player": "b", "moves": ["C3"], "untilDepth": 1}],
    {"wideRootNoise": "x"},
    {"reportAnalysisWinratesAs": "BLACK", "maxTime": 1, "fooBar": 2},
)
# Long lines and deep ones are rare, because they take long.
LONG_BYTES = 20_000
DEPTH = 3000


class LineMaker:
    """Endless lines of one protocol."""

    def __init__(self, protocol: str, seed: int) -> None:
        self._random = random.Random(seed)
        self._is_gtp = protocol == "gtp"
        self._queries = _objects(awaited=("now", "reported", "done"))
        self._searched = _objects(awaited=("reported", "done"))
        self._names = sorted({name for query in self._queries for name in query})

    def line(self) -> bytes:
        """One line without its newline; it may be any bytes."""
        chance = self._random.random()
        line = self._gtp() if self._is_gtp else self._query()
        if chance < 0.70:
            return line
        if chance < 0.98:
            return self._damaged(line)
        if chance < 0.999:
            return self._random.randbytes(self._random.randrange(200)).replace(b"\n", b" ")
        return self._random.choice(
            (line * (1 + LONG_BYTES // (len(line) + 1)), b"[" * DEPTH, b'{"a":' * DEPTH, b" " * DEPTH)
        )

    # ------------------------------------------------------------ GTP

    def _gtp(self) -> bytes:
        pick = self._random
        words = [pick.choice(COMMANDS)]
        # What makes a game goes on more often than not, so that the state moves.
        if pick.random() < 0.3:
            words = pick.choice(
                (["play", "b"], ["play", "w"], ["genmove", "b"], ["boardsize"], ["kata-analyze"], ["undo"])
            )
        if words[0] == "quit" and pick.random() < 0.98:
            words = ["name"]
        words = [*words, *(pick.choice(WORDS) for _ in range(pick.choice((0, 0, 1, 1, 2, 3, 6))))]
        if pick.random() < 0.5:
            words.insert(0, str(pick.choice((1, 7, 0, -1, 2**31, 12345678901))))
        return pick.choice((" ", " ", " ", "  ", "\t")).join(words).encode("utf-8", "surrogatepass")

    # ------------------------------------------------------------ analysis

    def _query(self) -> bytes:
        pick = self._random
        query = dict(pick.choice(pick.choice((self._queries, self._searched))))
        for _ in range(pick.choice((0, 0, 0, 1, 1, 2, 4))):
            name = pick.choice(self._names)
            if pick.random() < 0.2:
                query.pop(name, None)
            else:
                query[name] = self._value(query.get(name))
        if isinstance(query.get("maxVisits"), int) and pick.random() < 0.5:
            query["reportDuringSearchEvery"] = 0.5
        return json.dumps(query, ensure_ascii=pick.random() < 0.5).encode("utf-8", "surrogatepass")

    def _value(self, old: Any) -> Any:
        """Another value, or the old one with something else in it."""
        pick = self._random
        if isinstance(old, list) and old and pick.random() < 0.6:
            new = list(old)
            new[pick.randrange(len(new))] = self._value(new[pick.randrange(len(new))])
            return new * pick.choice((1, 1, 1, 2, 30))
        if isinstance(old, dict) and old and pick.random() < 0.6:
            return {**old, pick.choice([*old, "x", "maxVisits", "humanSLProfile"]): pick.choice(VALUES)}
        if isinstance(old, str) and old and pick.random() < 0.5:
            return self._damaged(old.encode("utf-8", "replace")).decode("utf-8", "replace")
        return pick.choice(VALUES)

    # ------------------------------------------------------------ bytes

    def _damaged(self, line: bytes) -> bytes:
        """A few bytes changed, lost, doubled or moved."""
        pick = self._random
        data = bytearray(line)
        for _ in range(pick.choice((1, 1, 2, 5))):
            at = pick.randrange(len(data) + 1)
            kind = pick.randrange(5)
            if kind == 0:
                data[at : at + 1] = bytes([pick.randrange(256)])
            elif kind == 1:
                del data[at : at + pick.choice((1, 1, 3, 20))]
            elif kind == 2:
                data[at:at] = data[at : at + pick.choice((1, 5, 30))]
            elif kind == 3:
                data[at:at] = pick.choice(
                    (b"\x00", b"\xff\xfe", b"\xed\xa0\x80", b"\r", b"\\u0000", b'"', b"{", b"1e999")
                )
            else:
                del data[at:]
        return bytes(data).replace(b"\n", b" ")


def _objects(awaited: Sequence[str]) -> list[dict[str, Any]]:
    """The queries of the recorded conversations."""
    found = []
    for scenario in SCENARIOS:
        for line, how in scenario.steps:
            with contextlib.suppress(ValueError):
                if how in awaited and isinstance(query := json.loads(line), dict):
                    found.append(query)
    return found
