"""How much harder the engine plays when it gave a handicap: as if it had more visits than its opponent, so that it
expects mistakes. Pure.

Source: KataGo cpp/command/gtp.cpp (updateDynamicPDAHelper). The number is a playoutDoublingAdvantage.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from agent.engine.messages import Position
from agent.engine.points import WHITE
from agent.service.history import history_of
from agent.service.numbers import round_half_away
from agent.service.resignation import black_advantage

# Beyond this KataGo's networks have seen little.
MOST = 2.75
# It changes by so much from move to move, and is always a multiple of it.
STEP = 0.125
# A handicap of fewer points, less on small boards, is none; nor is any on the smallest.
LEAST_POINTS, LEAST_POINTS_SMALL = 4.0, 2.0
LARGEST_EXCLUDED = 7
# Win-loss of the side that is behind: below the one it plays harder, above the other more soundly.
LOSING, RECOVERED = -0.9, -0.5


def white_advantage(
    position: Position, stones: Sequence[int], win_losses: Sequence[float], before: float, per_point: float
) -> float:
    """What White's searches should be told (Black's the negative), after `before` at the last move. `stones` are the
    colours on the board now, `win_losses` as in `should_resign`, `per_point` is KataGo's
    dynamicPlayoutDoublingAdvantageCapPerOppLead."""
    if per_point <= 0 or min(position.x_size, position.y_size) <= LARGEST_EXCLUDED:
        return 0.0
    history = history_of(position)
    lead = black_advantage(position, history.handicap_stones)
    scale = math.pow(361.0 / (position.x_size * position.y_size), 0.75)
    least = max(LEAST_POINTS / scale, LEAST_POINTS_SMALL)
    if abs(lead) < least:
        return 0.0
    most = min(MOST, per_point * (abs(lead) - least) * scale)
    most = round_half_away(most / STEP) * STEP
    sign = 1.0 if lead >= 0 else -1.0
    if not win_losses or WHITE not in stones:
        return sign * most
    advantage, value = sign * before, sign * win_losses[-1]
    if value < LOSING:
        advantage += STEP
    elif value > RECOVERED:
        advantage -= STEP
    return sign * min(max(advantage, 0.0), most)
