"""Go from first principles, slow and plain: an oracle for the core. Shares no code and no data structure with it.

A board is a dict of (x, y) → "X" (Black) or "O" (White). Chains, liberties and regions are found anew by flood fill at
every question; superko compares whole boards of the past.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

Stone = str  # "X" or "O"
Spot = tuple[int, int]
Stones = Mapping[Spot, Stone]

OTHER: Mapping[Stone, Stone] = {"X": "O", "O": "X"}


class Situation(NamedTuple):
    """A board and who moves next, comparable as a whole."""

    stones: frozenset[tuple[Spot, Stone]]
    next_player: Stone


class Board(NamedTuple):
    width: int
    height: int
    stones: Stones

    @property
    def spots(self) -> list[Spot]:
        return [(x, y) for y in range(self.height) for x in range(self.width)]

    def around(self, spot: Spot) -> list[Spot]:
        x, y = spot
        near = [(x, y - 1), (x - 1, y), (x + 1, y), (x, y + 1)]
        return [(a, b) for a, b in near if 0 <= a < self.width and 0 <= b < self.height]

    def flood(self, start: Spot, inside: Iterable[Spot]) -> frozenset[Spot]:
        """The points of `inside` connected to `start`."""
        allowed = set(inside)
        found, frontier = {start}, [start]
        while frontier:
            for near in self.around(frontier.pop()):
                if near in allowed and near not in found:
                    found.add(near)
                    frontier.append(near)
        return frozenset(found)

    def chain(self, spot: Spot) -> frozenset[Spot]:
        return self.flood(spot, [s for s, color in self.stones.items() if color == self.stones[spot]])

    def chains(self, color: Stone) -> set[frozenset[Spot]]:
        return {self.chain(spot) for spot, stone in self.stones.items() if stone == color}

    def liberties(self, points: Iterable[Spot]) -> set[Spot]:
        return {near for spot in points for near in self.around(spot) if near not in self.stones}

    def without_dead(self, color: Stone) -> Board:
        """Take all chains of one colour off that have no liberty."""
        alive = {s: c for s, c in self.stones.items() if c != color or self.liberties(self.chain(s))}
        return self._replace(stones=alive)

    def after(self, spot: Spot, color: Stone) -> Board:
        """The board after a stone: first the opponent's dead chains go, then one's own."""
        placed = self._replace(stones={**self.stones, spot: color})
        return placed.without_dead(OTHER[color]).without_dead(color)

    def situation(self, next_player: Stone) -> Situation:
        return Situation(frozenset(self.stones.items()), next_player)


class SlowGame:
    """One game under simple ko, positional or situational superko; moves alternate."""

    def __init__(self, width: int, height: int, ko: str, *, suicide: bool) -> None:
        self.board = Board(width, height, {})
        self.ko = ko
        self.suicide = suicide
        self.to_play: Stone = "X"
        self.past: list[Situation] = [self.board.situation("X")]
        self.captured = {"X": 0, "O": 0}
        self.played = {"X": 0, "O": 0}

    def is_legal(self, spot: Spot) -> bool:
        if spot in self.board.stones:
            return False
        after = self.board.after(spot, self.to_play)
        if spot not in after.stones and (not self.suicide or after.stones == self.board.stones):
            return False
        now = after.situation(OTHER[self.to_play])
        if self.ko == "SIMPLE":
            return len(self.past) < 2 or now.stones != self.past[-2].stones
        if self.ko == "POSITIONAL":
            return all(now.stones != then.stones for then in self.past)
        return now not in self.past

    def play(self, spot: Spot | None) -> None:
        """Play a legal move; None passes."""
        player, opponent = self.to_play, OTHER[self.to_play]
        if spot is not None:
            before = self.board
            self.board = before.after(spot, player)
            gone = {color: self._count(before, color) - self._count(self.board, color) for color in "XO"}
            self.captured[opponent] += gone[opponent]
            self.captured[player] += gone[player] + 1
            self.played[player] += 1
        self.to_play = opponent
        self.past.append(self.board.situation(opponent))

    @staticmethod
    def _count(board: Board, color: Stone) -> int:
        return sum(stone == color for stone in board.stones.values())


# ---------------------------------------------------------------- life and area


class Region(NamedTuple):
    """A connected set of points without stones of `color`, and the chains of `color` around it."""

    points: frozenset[Spot]
    borders: frozenset[frozenset[Spot]]


def regions(board: Board, color: Stone) -> set[Region]:
    free = [spot for spot in board.spots if board.stones.get(spot) != color]
    return {_region(board, color, board.flood(spot, free)) for spot in free}


def _region(board: Board, color: Stone, points: frozenset[Spot]) -> Region:
    touching = {near for spot in points for near in board.around(spot) if board.stones.get(near) == color}
    return Region(points, frozenset(board.chain(spot) for spot in touching))


def pass_alive(board: Board, color: Stone, *, suicide: bool) -> tuple[set[frozenset[Spot]], set[Region]]:
    """Benson's algorithm: the chains that live without a move, and the regions that only they border.

    A region is vital to a chain if all its empty points are liberties of it; where the opponent may commit suicide and
    so empty its own stones' points, all its points must be next to the chain.
    """
    alive, healthy = board.chains(color), regions(board, color)
    while True:
        kept = {chain for chain in alive if sum(_is_vital(board, region, chain, suicide) for region in healthy) >= 2}
        enclosed = {region for region in healthy if region.borders <= kept}
        if (kept, enclosed) == (alive, healthy):
            return alive, {region for region in healthy if region.borders}
        alive, healthy = kept, enclosed


def _is_vital(board: Board, region: Region, chain: frozenset[Spot], suicide: bool) -> bool:
    watched = [spot for spot in region.points if suicide or spot not in board.stones]
    return chain in region.borders and all(any(near in chain for near in board.around(spot)) for spot in watched)


def pass_alive_area(board: Board, *, suicide: bool) -> dict[Spot, Stone]:
    """Pass-alive chains, and the regions inside without room for the opponent: at most one point away from the wall."""
    area: dict[Spot, Stone] = {}
    for color in "XO":
        chains, enclosed = pass_alive(board, color, suicide=suicide)
        for chain in chains:
            area.update(dict.fromkeys(chain, color))
        for region in enclosed:
            if _interior(board, region, color) <= 1:
                area.update(dict.fromkeys(region.points, color))
    return area


def _interior(board: Board, region: Region, color: Stone) -> int:
    return sum(all(board.stones.get(near) != color for near in board.around(spot)) for spot in region.points)


def owned_area(board: Board, *, suicide: bool) -> dict[Spot, Stone]:
    """Area scoring: pass-alive area, else stones for their colour and empty regions for the only colour around them."""
    area = pass_alive_area(board, suicide=suicide)
    for spot in board.spots:
        if spot in area:
            continue
        if spot in board.stones:
            area[spot] = board.stones[spot]
            continue
        room = board.flood(spot, [s for s in board.spots if s not in board.stones])
        owners = {board.stones[near] for s in room for near in board.around(s) if near in board.stones}
        if len(owners) == 1:
            area[spot] = owners.pop()
    return area


class Life(NamedTuple):
    """`area` of groups that are alive for themselves, and how many such groups each side has."""

    area: dict[Spot, Stone]
    groups: dict[Stone, int]


def independent_life(board: Board, *, suicide: bool) -> Life:
    """Connected owned areas that are no seki: they touch no empty point without owner and have no stone in atari."""
    owned = owned_area(board, suicide=suicide)
    groups = {board.flood(spot, [s for s in owned if owned[s] == owned[spot]]) for spot in owned}
    life = Life({}, {"X": 0, "O": 0})
    for group in groups:
        owner = owned[next(iter(group))]
        touches_dame = any(near not in owned and near not in board.stones for s in group for near in board.around(s))
        own_stones = [s for s in group if board.stones.get(s) == owner]
        in_atari = any(len(board.liberties(board.chain(s))) == 1 for s in own_stones)
        if not touches_dame and not in_atari:
            life.area.update(dict.fromkeys(group, owner))
            life.groups[owner] += 1
    return life


def white_score(game: SlowGame, scoring: str, tax: str) -> int:
    """White minus Black without komi, as the board stands.

    Area scoring counts owned area; a tax on seki takes the eyes there. Territory scoring counts the same, but a stone
    costs its player a point when it is played. A tax on all groups takes two points for each living one.
    """
    board = game.board
    owned = owned_area(board, suicide=game.suicide)
    life = independent_life(board, suicide=game.suicide)
    area = dict(life.area)
    for spot, owner in owned.items():
        if board.stones.get(spot) == owner or (scoring == "TERRITORY" and tax == "NONE"):
            area[spot] = owner
    if scoring == "AREA" and tax == "NONE":
        area = owned
    if scoring == "TERRITORY":
        area.update({spot: stone for spot, stone in board.stones.items() if spot not in area})
    score = sum(1 if owner == "O" else -1 for owner in area.values())
    if tax == "ALL":
        score -= 2 * (life.groups["O"] - life.groups["X"])
    if scoring == "TERRITORY":
        score += game.played["X"] - game.played["O"]
    return score
