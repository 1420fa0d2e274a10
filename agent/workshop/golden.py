"""Positions that native KataGo has answered, or may be asked about. Start at `golden_set`.

The packaged ones are the 120 of tests/golden without the answers; a file with answers has the same lines with `nets`.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import msgspec
import numpy as np

from agent.engine.messages import Position
from agent.engine.points import BLACK, WHITE, parse_color, parse_vertex
from agent.engine.rules import parse_rules
from agent.errors import CalibrationError, IllegalMove, RulesError
from agent.workshop.accuracy import Answers
from agent.workshop.position_set import PositionSet
from agent.workshop.records import GameRecord, end_positions, game_id

_PACKAGED = "golden_positions.jsonl.gz"
_ANSWERS_FIX = "Check what --native runs, or the file after --golden."


class NativeAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """What kata-raw-nn prints. `policy` row-major from the top left, None where a move is illegal."""

    white_win: float
    white_loss: float
    no_result: float
    white_lead: float
    white_score_selfplay: float
    policy: tuple[float | None, ...]
    policy_pass: float | None
    white_ownership: tuple[float, ...]


class GoldenRow(msgspec.Struct, frozen=True):
    """One line of a file. `nets` are answers by a network's alias."""

    size: tuple[int, int]
    rules_full: dict[str, str | bool]
    komi: float
    handicap: tuple[str, ...]
    moves: tuple[tuple[str, str], ...]
    nets: dict[str, NativeAnswer] = {}

    def position(self) -> Position:
        """Raises ValueError or RulesError for what is no position; whether its moves are legal is not looked at."""
        x_size, y_size = self.size

        def point(vertex: str) -> int:
            found = parse_vertex(vertex, x_size, y_size)
            if found is None:
                raise ValueError(f"{vertex} is no point of {x_size}x{y_size}")
            return found

        def color(name: str) -> int:
            found = parse_color(name)
            if found is None:
                raise ValueError(f"{name} is no player")
            return found

        return Position(
            x_size,
            y_size,
            parse_rules(self.rules_full),
            self.komi,
            initial_stones=tuple((BLACK, point(vertex)) for vertex in self.handicap),
            initial_player=WHITE if self.handicap else BLACK,
            moves=tuple((color(name), point(vertex)) for name, vertex in self.moves),
        )


def packaged_rows() -> tuple[GoldenRow, ...]:
    """The 120 positions of 24 games that come with the product."""
    return _rows(resources.files("agent.workshop").joinpath(_PACKAGED).read_bytes())


def read_golden(path: Path) -> tuple[GoldenRow, ...]:
    """Raises CalibrationError: not such a file."""
    try:
        rows = _rows(path.read_bytes())
        if not rows:
            raise EOFError("it is empty")
        return rows
    except (OSError, EOFError, zlib.error, msgspec.DecodeError) as error:
        raise CalibrationError(f"{path} holds no golden positions: {error}") from error


def golden_set(rows: Sequence[GoldenRow], *, prefer_pass_alive: bool) -> tuple[PositionSet, tuple[int, ...]]:
    """The rows as a set, and which row each of its positions is, in the order of the groups.

    Raises:
        CalibrationError: a row is no position.
    """
    try:
        records = _records([row.position() for row in rows])
        positions = end_positions(records, prefer_pass_alive=prefer_pass_alive, source="golden positions")
    except (ValueError, RulesError, IllegalMove) as error:
        raise CalibrationError(f"a golden position cannot be set up: {error}") from error
    order: list[int] = []
    for group in positions.groups:
        order += [number for number, row in enumerate(rows) if row.size == (group.x_size, group.y_size)]
    return positions, tuple(order)


def native_answers(answers: Sequence[NativeAnswer], players: Sequence[int], area: int) -> Answers:
    """Native answers to positions on one board of `area` points, from the side to move, as `accuracy.answers` gives
    ours.

    Raises:
        CalibrationError: an answer is one to another board.
    """
    if any((len(each.policy), len(each.white_ownership)) != (area, area) for each in answers):
        raise CalibrationError(f"an answer of native KataGo is not one to a board of {area} points", fix=_ANSWERS_FIX)
    policy = np.array([[0.0 if p is None else p for p in (*each.policy, each.policy_pass)] for each in answers])
    sign = np.where(np.array(players) == WHITE, 1.0, -1.0)
    win = np.array([each.white_win + 0.5 * each.no_result for each in answers])
    score, lead = (
        sign * np.array([getattr(each, name) for each in answers]) for name in ("white_score_selfplay", "white_lead")
    )
    ownership = sign[:, None] * np.array([each.white_ownership for each in answers])
    with np.errstate(divide="ignore", invalid="ignore"):
        log_policy = np.log(policy / policy.sum(axis=1, keepdims=True))
    finite = ~np.isnan(log_policy).any(axis=1) & np.isfinite(ownership).all(axis=1)
    for part in (win, score, lead):
        finite &= np.isfinite(part)
    return Answers(
        log_policy=np.where(finite[:, None], log_policy, 0.0),
        win=np.where(sign > 0, win, 1 - win),
        score=score,
        lead=lead,
        ownership=ownership,
        finite=finite,
    )


def _records(positions: Sequence[Position]) -> list[GameRecord]:
    """A position belongs to the game of the one before where its moves go on from there."""
    records: list[GameRecord] = []
    for position in positions:
        last = records[-1] if records else None
        start = msgspec.structs.replace(position, moves=())
        is_next = (
            last is not None
            and start == msgspec.structs.replace(last.position, moves=())
            and position.moves[: last.positions] == last.position.moves
        )
        records.append(GameRecord(last.id if last and is_next else game_id(repr(position)), position))
    return records


def _rows(data: bytes) -> tuple[GoldenRow, ...]:
    lines = gzip.decompress(data).splitlines()
    return tuple(msgspec.json.decode(line, type=GoldenRow) for line in lines)
