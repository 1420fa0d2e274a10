"""loadsgf and printsgf: a game from and to SGF, as KataGo does it (cpp/command/gtp.cpp, cpp/dataio/sgf.cpp).

Only a service that was told so (`ServiceOptions.may_use_files`) touches files: a remote client would read and write
ours.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import msgspec

from agent.engine.game import Game
from agent.engine.messages import Position
from agent.engine.points import BLACK, EMPTY, WHITE, color_letter, vertex
from agent.engine.rules import MAX_KOMI, Rules, is_supported_by_networks, parse_rules
from agent.errors import CommandRefused, IllegalMove, RecordUnreadable
from agent.service.gtp_end import white_score
from agent.service.gtp_reply import Reply
from agent.service.gtp_searches import Job
from agent.service.gtp_setup import may_stand
from agent.service.gtp_state import GtpState
from agent.service.history import history_of
from agent.service.numbers import general, parse_int

_MAX_MOVE_NUMBER = 10_000_001
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_NOT_HERE = "only for whoever starts the engine on the same machine; here, {}"

# Names that KataGo writes for rules that are exactly these.
_RULES_NAMES = ("TrompTaylor", "Japanese", "Chinese", "Chinese-OGS", "AGA", "StoneScoring", "NewZealand")


# ---------------------------------------------------------------- reading


def loadsgf(state: GtpState, args: list[str]) -> str:
    """loadsgf PATH [MOVE_NUMBER]: the position before that move, or at the end of the game."""
    if len(args) not in (1, 2):
        raise CommandRefused(f"Expected one or two arguments for loadsgf but got '{' '.join(args)}'")
    number = parse_int(args[1]) if len(args) == 2 else _MAX_MOVE_NUMBER
    if number is None or not 1 <= number <= _MAX_MOVE_NUMBER:
        raise CommandRefused("Invalid value for moveNumber for loadsgf")
    if not state.options.may_use_files:
        raise CommandRefused(
            f"loadsgf reads files {_NOT_HERE.format('send the game with set_position and play instead')}"
        )
    try:
        position = _read(state, args[0], number - 1)
    except RecordUnreadable as error:
        is_missing = isinstance(error.__cause__, OSError)
        reason = f"Could not open file {args[0]} - does not exist or invalid permissions?" if is_missing else str(error)
        raise CommandRefused(f"Could not load sgf: {reason}") from error
    state.load(position)
    return ""


def _read(state: GtpState, path: str, move_count: int) -> Position:
    """Raises RecordUnreadable, CommandRefused."""
    # The parser's libraries cost the front two megabytes, and few clients ask for a file.
    from agent.record.sgf import Record, known_rules, read_sgf

    record: Record = read_sgf(Path(path))
    if record.ends_early:
        raise RecordUnreadable(
            "Found stone placements after the root, game records that are not simply ordinary play not currently"
            " supported"
        )
    named = known_rules(record.rules) if record.rules else None
    rules = state.position.rules if named is None or not is_supported_by_networks(named.rules) else named.rules
    usual = state.position.komi if named is None else named.komi
    komi = record.komi if record.komi is not None and _is_komi(record.komi) else usual
    stones = tuple((color, point) for color, point in record.set_up if color != EMPTY)
    if not may_stand(list(stones), record.x_size, record.y_size):
        raise RecordUnreadable(
            "setupInitialBoardAndHist: initial board position contains invalid stones or zero-liberty stones"
        )
    position = Position(
        record.x_size,
        record.y_size,
        rules,
        komi,
        initial_stones=stones,
        initial_player=_first_player(record.first_player, record.set_up, record.moves),
        moves=record.moves[:move_count],
        prevent_encore=state.options.prevent_encore,
    )
    _check_moves(position, path)
    return position


def _is_komi(komi: float) -> bool:
    return abs(komi) <= MAX_KOMI and komi * 2 == int(komi * 2)


def _first_player(told: int | None, set_up: tuple[tuple[int, int], ...], moves: tuple[tuple[int, int], ...]) -> int:
    if moves:
        return moves[0][0]
    is_handicap = bool(set_up) and all(color == BLACK for color, _ in set_up)
    return told or (WHITE if is_handicap else BLACK)


def _check_moves(position: Position, path: str) -> None:
    game = Game.from_position(msgspec.structs.replace(position, moves=()))
    for number, (color, point) in enumerate(position.moves):
        try:
            game.play(color, point, prevent_encore=position.prevent_encore)
        except IllegalMove as error:
            where = f"turn {number} move {vertex(point, position.x_size, position.y_size)}"
            raise RecordUnreadable(f"Illegal move in {path} {where}") from error


# ---------------------------------------------------------------- writing


def printsgf(state: GtpState, args: list[str], reply: Reply, command: str) -> Job:
    """printsgf [PATH]: the game as SGF, in the reply or in a file."""
    del command
    if len(args) > 1:
        raise CommandRefused(f"Expected zero or one argument for print but got '{' '.join(args)}'")
    path = args[0] if args and args[0] != "-" else None
    if path is not None and not state.options.may_use_files:
        raise CommandRefused(
            f"printsgf writes files {_NOT_HERE.format('leave the path out to get the game as a reply')}"
        )

    def write() -> Job:
        score = (yield from white_score(state)) if state.game.finished else None
        text = sgf_text(state.position, state.game, score)
        if path is None:
            return [reply.ok(text)]
        try:
            _replace_file(Path(path), text)
        except OSError as error:
            raise CommandRefused(f"Could not open or write to file: {path}") from error
        return [reply.ok("")]

    return write()


def sgf_text(position: Position, game: Game, white_score: float | None) -> str:
    """The game with its properties in KataGo's order. `white_score` is the result of a finished game."""
    x_size, y_size = position.x_size, position.y_size
    history = history_of(position)
    result = _result(game, white_score)
    text = f"(;FF[4]GM[1]SZ[{x_size if x_size == y_size else f'{x_size}:{y_size}'}]PB[]PW[]"
    text += f"HA[{history.handicap_stones}]KM[{general(position.komi)}]RU[{_rules_text(position.rules)}]"
    text += f"RE[{result}]" if result else ""
    for name, color in (("AB", BLACK), ("AW", WHITE)):
        points = [point for point, there in enumerate(history.start) if there == color]
        text += name + "".join(f"[{_sgf_point(point, x_size, y_size)}]" for point in points) if points else ""
    for color, point in history.moves:
        text += f";{color_letter(color)}[{_sgf_point(point, x_size, y_size)}]"
    if result and history.moves:
        text += f"C[result={result}]"
    return text + ")"


def _result(game: Game, white_score: float | None) -> str:
    if white_score is None:
        return ""
    if game.no_result:
        return "Void"
    if white_score == 0:
        return "0"
    return f"{'B' if white_score < 0 else 'W'}+{general(abs(white_score))}"


def _sgf_point(point: int, x_size: int, y_size: int) -> str:
    if point == x_size * y_size:
        return ""
    y, x = divmod(point, x_size)
    return _LETTERS[x] + _LETTERS[y]


def _rules_text(rules: Rules) -> str:
    for name in _RULES_NAMES:
        if parse_rules(name) == rules:
            return name
    text = f"ko{rules.ko}score{rules.scoring}tax{rules.tax}sui{int(rules.suicide)}"
    text += "button1" if rules.has_button else ""
    text += f"whb{rules.white_handicap_bonus}" if rules.white_handicap_bonus != "0" else ""
    return text + ("fpok1" if rules.friendly_pass_ok else "")


def _replace_file(path: Path, text: str) -> None:
    """The whole text or the file as it was. Raises OSError."""
    if path.exists() and not path.is_file():
        # A pipe or a device is written to, not replaced; a folder is an error.
        path.write_text(text, encoding="utf-8")
        return
    descriptor, name = tempfile.mkstemp(prefix=path.name, dir=path.parent)
    fresh = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            # mkstemp's files are for their owner alone; this one is as the user's other files.
            os.fchmod(file.fileno(), 0o666 & ~_umask())
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise


def _umask() -> int:
    """The process's own, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
