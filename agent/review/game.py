"""A record as what is asked of an engine, and its positions. Start at `prepare`. No engine is needed for that."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from agent.client import Query
from agent.client.query import Move
from agent.engine.game import Game
from agent.engine.messages import Position
from agent.engine.points import BLACK, EMPTY, WHITE, color_letter, opponent, vertex
from agent.engine.rules import RulesAndKomi, parse_rules_and_komi, rules_to_dict
from agent.errors import IllegalMove, RecordUnreadable
from agent.record.sgf import Record, known_rules, position_of
from agent.review.values import Reviewed

_STONES = {EMPTY: ".", BLACK: "X", WHITE: "O"}
# Whose rules nobody knows; most servers and books mean these where they say nothing.
_RULES_WITHOUT_NAME = "japanese"


class Prepared(msgspec.Struct, frozen=True):
    """The game under the rules that it will be analysed with. `positions` has one entry more than it has moves."""

    position: Position
    rules_name: str
    positions: tuple[Reviewed, ...]
    notes: tuple[str, ...]


def prepare(record: Record, *, rules: str | None = None, komi: float | None = None) -> Prepared:
    """Replay the record. `rules` and `komi` take the place of its own.

    Raises:
        RecordUnreadable: a move that no rules allow, or a komi beyond bounds; says which.
        RulesError: `rules` are none.
    """
    notes: list[str] = []
    if record.is_first_of_several:
        notes.append("The file holds further games; this is the first one.")
    if record.ends_early:
        notes.append(f"The record ends here at move {len(record.moves)}: {record.ends_early}.")
    chosen, name = _rules(record, rules, notes)
    if komi is not None:
        record = msgspec.structs.replace(record, komi=komi)
    elif record.komi is None:
        notes.append(f"The record names no komi; {chosen.komi:g} is usual under {name} rules.")
    position = msgspec.structs.replace(position_of(record, chosen), initial_stones=_stones(record))
    if record.komi is not None and position.komi != record.komi:
        notes.append(f"The komi of {record.komi:g} was taken as {position.komi:g}.")
    return Prepared(position, name, _replay(position), tuple(notes))


def query_of(prepared: Prepared, turns: Sequence[int], visits: int | None, *, priority: int | None = None) -> Query:
    """One query for all `turns`, with ownership."""
    position = prepared.position
    return Query(
        moves=_moves(position.moves, position),
        rules=rules_to_dict(position.rules),
        komi=position.komi,
        board_x_size=position.x_size,
        board_y_size=position.y_size,
        initial_stones=_moves(position.initial_stones, position),
        initial_player="B" if position.initial_player == BLACK else "W",
        analyze_turns=tuple(turns),
        max_visits=visits,
        include_ownership=True,
        priority=priority,
    )


def _rules(record: Record, given: str | None, notes: list[str]) -> tuple[RulesAndKomi, str]:
    if given is not None:
        return parse_rules_and_komi(given), given
    found = known_rules(record.rules)
    if found is not None:
        if not record.rules:
            notes.append(f"The record names no rules; they were taken as {_RULES_WITHOUT_NAME} (--rules).")
        return found, record.rules.lower() or _RULES_WITHOUT_NAME
    notes.append(f"The rules {record.rules[:40]!r} are unknown and were taken as {_RULES_WITHOUT_NAME} (--rules).")
    return parse_rules_and_komi(_RULES_WITHOUT_NAME), _RULES_WITHOUT_NAME


def _stones(record: Record) -> tuple[tuple[int, int], ...]:
    """The set-up after everything that was taken off again; a point that was set twice keeps its last stone."""
    board: dict[int, int] = {}
    for color, point in record.set_up:
        board.pop(point, None)
        if color != EMPTY:
            board[point] = color
    return tuple((color, point) for point, color in board.items())


def _moves(given: Sequence[tuple[int, int]], position: Position) -> tuple[Move, ...]:
    return tuple((color_letter(color), vertex(point, position.x_size, position.y_size)) for color, point in given)


def _replay(position: Position) -> tuple[Reviewed, ...]:
    game = Game.from_position(msgspec.structs.replace(position, moves=()))
    first = Reviewed(0, "", "", color_letter(position.initial_player), _picture(game))
    found = [first]
    for turn, (color, point) in enumerate(position.moves, 1):
        name = vertex(point, position.x_size, position.y_size)
        try:
            game.play(color, point, prevent_encore=position.prevent_encore)
        except IllegalMove as error:
            side = "Black" if color == BLACK else "White"
            raise RecordUnreadable(f"its move {turn}, {side} {name}, is illegal") from error
        found.append(Reviewed(turn, color_letter(color), name, color_letter(opponent(color)), _picture(game)))
    return tuple(found)


def _picture(game: Game) -> str:
    return "".join(_STONES[color] for color in game.stones())
