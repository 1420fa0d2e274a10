"""A reviewed game: what was played, what the engine thinks of each position, and what each move cost. Pure values.

Everything is from Black's side, as `agent.client` gives it: win rates from 0 to 1, scores in points. What a move cost
is from the side of who played it.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from agent.client import Analysis

# Of each position the best moves are kept; the page and the SGF show no more.
CANDIDATES_KEPT = 10
# What is less than both, an engine of some hundred visits takes back at its next look.
MISTAKE_POINTS = 1.0
MISTAKE_WINRATE = 0.05


class Candidate(msgspec.Struct, frozen=True):
    """A move that the engine considered, best first in its list."""

    move: str
    visits: int
    winrate: float
    score_lead: float
    prior: float
    pv: tuple[str, ...]


class Evaluation(msgspec.Struct, frozen=True):
    """The engine's view of one position; `ownership` is from −1 (White's) to 1 (Black's), row-major from the top."""

    visits: int
    winrate: float
    score_lead: float
    candidates: tuple[Candidate, ...]
    ownership: tuple[float, ...] = ()

    @property
    def best(self) -> Candidate | None:
        return self.candidates[0] if self.candidates else None


class Reviewed(msgspec.Struct, frozen=True):
    """The position after `turn` moves. `player` ("B" or "W") made the move `played` that led here; both are empty for
    the first position. `to_play` is next. `stones` are `.`, `X` (Black) and `O` (White), row-major from the top left.
    `evaluation` is None where it was not asked for, `points_lost` and `winrate_lost` where it or the one before is
    missing, and of a move out of turn, such as a handicap stone, which the engine did not look for: it had the other
    side to move. A small gain is noise, or a move that the engine had not looked at well."""

    turn: int
    player: str
    played: str
    to_play: str
    stones: str
    evaluation: Evaluation | None = None
    points_lost: float | None = None
    winrate_lost: float | None = None

    @property
    def is_mistake(self) -> bool:
        return (self.points_lost or 0) >= MISTAKE_POINTS or (self.winrate_lost or 0) >= MISTAKE_WINRATE


class Review(msgspec.Struct, frozen=True):
    """`rules` in KataGo's keys. `engine` is the engine's own version; `notes` are what the reader should know of how
    the record was read."""

    title: str
    black: str
    white: str
    result: str
    date: str
    x_size: int
    y_size: int
    rules: dict[str, str | bool]
    rules_name: str
    komi: float
    engine: str
    positions: tuple[Reviewed, ...]
    notes: tuple[str, ...] = ()

    @property
    def mistakes(self) -> tuple[Reviewed, ...]:
        """The moves that cost most, worst first: by points, and among equals by win rate."""
        found = [each for each in self.positions if each.is_mistake]
        return tuple(sorted(found, key=lambda each: (-(each.points_lost or 0), -(each.winrate_lost or 0))))

    def before(self, reviewed: Reviewed) -> Reviewed:
        """The position in which the move that led to `reviewed` was chosen."""
        return self.positions[reviewed.turn - 1]

    def best_instead(self, reviewed: Reviewed) -> Candidate | None:
        """The engine's choice in the place of the move that led to `reviewed`, which may be the same one; None where it
        was not asked, or had the other side to move."""
        before = self.before(reviewed) if reviewed.turn else None
        if before is None or before.evaluation is None or before.to_play != reviewed.player:
            return None
        return before.evaluation.best


def evaluation_of(analysis: Analysis) -> Evaluation:
    """What is kept of an engine's answer."""
    infos = sorted(analysis.move_infos, key=lambda info: info.order)[:CANDIDATES_KEPT]
    return Evaluation(
        visits=analysis.root_info.visits,
        winrate=analysis.root_info.winrate,
        score_lead=analysis.root_info.score_lead,
        candidates=tuple(
            Candidate(info.move, info.visits, info.winrate, info.score_lead, info.prior, info.pv) for info in infos
        ),
        ownership=analysis.ownership,
    )


def with_losses(positions: Iterable[Reviewed]) -> tuple[Reviewed, ...]:
    """Each position with what the move that led to it cost: the difference of the two positions' own values, which
    both searches looked at, and not of two moves of one search, of which the played one may have had few visits."""
    found: list[Reviewed] = []
    for position in positions:
        before = found[-1].evaluation if found and found[-1].to_play == position.player else None
        after = position.evaluation
        if before is not None and after is not None:
            sign = 1 if position.player == "B" else -1
            position = msgspec.structs.replace(
                position,
                points_lost=sign * (before.score_lead - after.score_lead),
                winrate_lost=sign * (before.winrate - after.winrate),
            )
        found.append(position)
    return tuple(found)


def score_text(lead: float) -> str:
    """ "B+3.5", "W+0.2", or "even"."""
    if abs(lead) < 0.05:
        return "even"
    return f"{'B' if lead > 0 else 'W'}+{abs(lead):.1f}"
