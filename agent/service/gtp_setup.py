"""GTP commands that set up and play a game. Each takes the state and the arguments and returns the reply's text.

Raises CommandRefused with KataGo's text for what cannot be done (cpp/command/gtp.cpp).
"""

from __future__ import annotations

from agent.engine.points import BLACK, MAX_SIZE, WHITE, parse_color, pass_point, vertex
from agent.engine.rules import Rules, is_supported_by_networks, parse_rules, rules_to_json, update_rule
from agent.errors import CommandRefused, IllegalMove, RulesError
from agent.service.analysis_query import MAX_KOMI
from agent.service.chains import neighbours
from agent.service.gtp_format import board_text
from agent.service.gtp_state import GtpState
from agent.service.numbers import general, parse_float, parse_int
from agent.service.vertices import read_point

_PAIRS = "Expected a space-separated sequence of <COLOR> <VERTEX> pairs but got '{}'"


def boardsize(state: GtpState, args: list[str]) -> str:
    parts = args[0].split(":") if len(args) == 1 and ":" in args[0] else args
    sizes = [parse_int(part) for part in parts]
    if len(sizes) == 1 and len(parts) == len(args):
        sizes *= 2
    if len(sizes) != 2 or sizes[0] is None or sizes[1] is None:
        raise CommandRefused(f"Expected int argument for boardsize or pair of ints but got '{' '.join(args)}'")
    x_size, y_size = sizes[0], sizes[1]
    if min(x_size, y_size) < 2:
        raise CommandRefused("unacceptable size")
    if max(x_size, y_size) > MAX_SIZE:
        raise CommandRefused(f"unacceptable size (the largest board is {MAX_SIZE}x{MAX_SIZE})")
    state.resize(x_size, y_size)
    return ""


def clear_board(state: GtpState, args: list[str]) -> str:
    del args
    state.set_up((), BLACK)
    return ""


def komi(state: GtpState, args: list[str]) -> str:
    value = parse_float(args[0]) if len(args) == 1 else None
    if value is None:
        raise CommandRefused(f"Expected single float argument for komi but got '{' '.join(args)}'")
    if abs(value) > MAX_KOMI:
        raise CommandRefused("unacceptable komi")
    if value * 2 != int(value * 2):
        raise CommandRefused("komi must be an integer or half-integer")
    state.set_komi(value)
    # Some controllers tell the komi at every move; the engine thinks on.
    state.wants_to_ponder = bool(state.position.moves)
    return ""


def get_komi(state: GtpState, args: list[str]) -> str:
    del args
    return general(state.position.komi)


def play(state: GtpState, args: list[str]) -> str:
    if len(args) != 2:
        raise CommandRefused(f"Expected two arguments for play but got '{' '.join(args)}'")
    color = read_color(args[0])
    point = read_point(args[1], *state.sizes)
    if point is None:
        raise CommandRefused(f"Could not parse vertex: '{args[1]}'")
    state.wants_to_ponder = True
    try:
        state.play(color, point)
    except IllegalMove as error:
        raise CommandRefused("illegal move") from error
    return ""


def read_color(text: str) -> int:
    """Raises CommandRefused."""
    color = parse_color(text)
    if color is None:
        raise CommandRefused(f"Could not parse color: '{text}'")
    return color


def undo(state: GtpState, args: list[str]) -> str:
    del args
    if not state.undo():
        raise CommandRefused("cannot undo")
    return ""


def set_position(state: GtpState, args: list[str]) -> str:
    text = _PAIRS.format(" ".join(args))
    if len(args) % 2:
        raise CommandRefused(text)
    stones = []
    for color_text, vertex_text in zip(args[::2], args[1::2], strict=True):
        color = parse_color(color_text)
        if color is None:
            raise CommandRefused(f"{text}: could not parse color: '{color_text}'")
        point = read_point(vertex_text, *state.sizes)
        if point is None or point == pass_point(*state.sizes):
            raise CommandRefused(f"{text}: could not parse vertex: '{vertex_text}'")
        stones.append((color, point))
    if not may_stand(stones, *state.sizes):
        raise CommandRefused("Illegal stone placements - overlapping stones or stones with no liberties?")
    state.set_up(stones, BLACK)
    return ""


def may_stand(stones: list[tuple[int, int]], x_size: int, y_size: int) -> bool:
    """Whether no two stones overlap and every chain has a liberty."""
    board = {point: color for color, point in stones}
    if len(board) != len(stones):
        return False
    free: set[int] = set()
    frontier = [p for p in board if any(n not in board for n in neighbours(p, x_size, y_size))]
    while frontier:
        point = frontier.pop()
        if point not in free:
            free.add(point)
            frontier += [n for n in neighbours(point, x_size, y_size) if board.get(n) == board[point]]
    return len(free) == len(board)


# ---------------------------------------------------------------- handicap


def fixed_handicap(state: GtpState, args: list[str]) -> str:
    count = handicap_count(state, args, "fixed_handicap")
    points = _standard_points(count, *state.sizes)
    state.set_up([(BLACK, point) for point in points], WHITE)
    return " ".join(vertex(point, *state.sizes) for point in sorted(points))


def set_free_handicap(state: GtpState, args: list[str]) -> str:
    _refuse_stones(state)
    points = [read_point(text, *state.sizes) for text in args]
    stones = [(BLACK, point) for point in points if point is not None and point != pass_point(*state.sizes)]
    if len(stones) != len(args) or not may_stand(stones, *state.sizes):
        raise CommandRefused("Handicap placement is invalid")
    state.set_up(stones, WHITE)
    return ""


def handicap_count(state: GtpState, args: list[str], command: str) -> int:
    """How many stones to place on the board, which must be empty. Raises CommandRefused."""
    if len(args) != 1:
        raise CommandRefused(f"Expected one argument for {command} but got '{' '.join(args)}'")
    count = parse_int(args[0])
    if count is None:
        raise CommandRefused(f"Could not parse number of handicap stones: '{args[0]}'")
    if count < 2:
        raise CommandRefused(f"Number of handicap stones less than 2: '{args[0]}'")
    _refuse_stones(state)
    return count


def _refuse_stones(state: GtpState) -> None:
    if any(state.game.stones()):
        raise CommandRefused("Board is not empty")


def _standard_points(count: int, x_size: int, y_size: int) -> list[int]:
    """GTP 2's fixed handicap points: corners, then the centre or sides. Raises CommandRefused."""
    problem = ""
    if min(x_size, y_size) < 7:
        problem = "Board is too small for fixed handicap"
    elif (x_size % 2 == 0 or y_size % 2 == 0) and count > 4:
        problem = "Fixed handicap > 4 is not allowed on boards with even dimensions"
    elif min(x_size, y_size) == 7 and count > 4:
        problem = "Fixed handicap > 4 is not allowed on boards with size 7"
    elif count > 9:
        problem = "Fixed handicap > 9 is not allowed"
    if problem:
        raise CommandRefused(f"{problem}, try place_free_handicap")

    def lines(size: int) -> tuple[int, int, int]:
        edge = 2 if size <= 12 else 3
        return edge, size // 2, size - 1 - edge

    (left, middle, right), (top, centre, bottom) = lines(x_size), lines(y_size)
    corners = [(left, bottom), (right, top), (left, top), (right, bottom)]
    sides = [(left, centre), (right, centre), (middle, top), (middle, bottom)]
    chosen = corners[: min(count, 4)] + sides[: max(0, count - 4) // 2 * 2]
    if count in (5, 7, 9):
        chosen.append((middle, centre))
    return [y * x_size + x for x, y in chosen]


# ---------------------------------------------------------------- rules


def kata_get_rules(state: GtpState, args: list[str]) -> str:
    if args:
        # No error, as in KataGo.
        return f"Expected no arguments for kata-get-rules but got '{' '.join(args)}'"
    return rules_to_json(state.position.rules)


def kata_set_rules(state: GtpState, args: list[str]) -> str:
    text = " ".join(args)
    try:
        rules = parse_rules(text)
    except RulesError as error:
        raise CommandRefused(f"Unknown rules '{text}', {error}") from error
    return _set_rules(state, rules)


def kata_set_rule(state: GtpState, args: list[str]) -> str:
    if len(args) != 2:
        raise CommandRefused(f"Expected two arguments for kata-set-rule but got '{' '.join(args)}'")
    try:
        rules = update_rule(state.position.rules, args[0], args[1])
    except RulesError as error:
        raise CommandRefused(str(error)) from error
    return _set_rules(state, rules)


def kgs_rules(state: GtpState, args: list[str]) -> str:
    if not args:
        raise CommandRefused("Expected one argument kgs-rules")
    names = {"chinese": "chinese-kgs", "aga": "aga", "new_zealand": "new_zealand", "japanese": "japanese"}
    name = args[0].lower()
    if name not in names:
        raise CommandRefused(f"Unknown rules '{name}'")
    return _set_rules(state, parse_rules(names[name]))


def _set_rules(state: GtpState, rules: Rules) -> str:
    if not is_supported_by_networks(rules):
        raise CommandRefused(f"Rules {rules_to_json(rules)} are not supported by this neural net version")
    try:
        state.set_rules(rules)
    except IllegalMove as error:
        text = "Could not make the rules change, some earlier moves in the game would now become illegal."
        raise CommandRefused(text) from error
    return ""


def showboard(state: GtpState, args: list[str]) -> str:
    del args
    return board_text(state.position, state.game)
