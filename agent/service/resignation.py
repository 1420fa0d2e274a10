"""Whether to resign. Pure.

Source: KataGo cpp/command/gtp.cpp (shouldResign, initialBlackAdvantage) and its gtp_example.cfg.
"""

from __future__ import annotations

from collections.abc import Sequence

from agent.engine.messages import Position
from agent.engine.points import WHITE
from agent.service.history import history_of
from agent.service.options import ServiceOptions

# KataGo's estimate of a handicap stone's worth in points, and of the komi of an even game.
STONE_WORTH_AREA, STONE_WORTH_TERRITORY = 15.0, 14.0
FAIR_KOMI = 7.0


def should_resign(
    options: ServiceOptions, position: Position, player: int, win_losses: Sequence[float], lead: float
) -> bool:
    """`win_losses` are White's (−1 lost, 1 won) after each of our genmoves, the latest last; `lead` is White's."""
    if not options.allow_resignation or len(win_losses) < options.resign_consec_turns:
        return False
    own_lead = lead if player == WHITE else -lead
    if own_lead > -options.resign_min_score_difference:
        return False
    area = position.x_size * position.y_size
    history = history_of(position)
    earliest = int(options.resign_min_moves_per_board_area * area)
    advantage = black_advantage(position, history.handicap_stones)
    if advantage > 0.9 and player == WHITE:
        # Behind from the start: resign only well behind the pace at which the handicap should melt.
        opening = 1 + area // 5
        pace = max(1.0, 0.6 * area - opening)
        spent = min(pace, max(0.0, len(history.moves) - opening))
        if lead > -advantage * (pace - spent) / pace - 5.0 - 0.15 * advantage:
            return False
        earliest = max(earliest, opening)
    if len(history.moves) < earliest:
        return False
    sign = 1.0 if player == WHITE else -1.0
    return all(sign * value < options.resign_threshold for value in win_losses[-options.resign_consec_turns :])


def black_advantage(position: Position, stones: int) -> float:
    """Points by which Black is ahead before the first move of White, with so many handicap stones."""
    if stones <= 1:
        return FAIR_KOMI - position.komi
    worth = STONE_WORTH_AREA if position.rules.scoring == "AREA" else STONE_WORTH_TERRITORY
    bonus = {"N": stones, "N-1": stones - 1}.get(position.rules.white_handicap_bonus, 0)
    return worth * (stones - 1) + FAIR_KOMI - position.komi - bonus


def win_loss(winrate: float) -> float:
    """White's winning minus losing, from a win rate."""
    return 2.0 * winrate - 1.0
