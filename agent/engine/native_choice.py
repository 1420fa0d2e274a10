"""The move to play, of what a native katago tells of a search: its analysis engine lists moves and plays none. Pure but
for the draw, whose source of chance is an argument.

The rule is that of our own search (`core/move_selector.cpp`): by the value that KataGo gives each move for being
played, with a little chance at first. Source: KataGo cpp/search/searchresults.cpp (getChosenMoveLoc).
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from agent.engine.messages import MoveInfo, SearchRequest
from agent.engine.native_query import avoided
from agent.engine.search_params import SEARCH_PARAMS

# Where fewer moves have a chance than this, chance is none.
_NO_TEMPERATURE = 1e-4


def choose(
    moves: Sequence[MoveInfo], policy: Sequence[float] | None, request: SearchRequest, chance: random.Random
) -> int | None:
    """The point to play; straight from the policy where nothing was searched. None where no move may be played."""
    # A move that mirrors another one is listed for the eye; the one that was searched stands for both.
    points = [move.move for move in moves if move.symmetry_of is None]
    values = [move.play_selection_value for move in moves if move.symmetry_of is None]
    if not any(value > 0 for value in values):
        forbidden = {
            point
            for player, listed, _ in avoided(request.limits, request.position)
            if player == request.player
            for point in listed
        }
        left = [(point, p) for point, p in enumerate(policy or ()) if p >= 0 and point not in forbidden]
        points, values = [point for point, _ in left], [p for _, p in left]
    if not points:
        return None
    return points[draw(values, temperature(request), _param(request, "chosenMoveTemperatureOnlyBelowProb"), chance)]


def temperature(request: SearchRequest) -> float:
    """How much chance there is at this turn: it halves every so many moves, sooner on small boards."""
    position = request.position
    late = _param(request, "chosenMoveTemperature")
    early = _param(request, "chosenMoveTemperatureEarly")
    turns = request.turns_before + (len(position.moves) if request.player == position.to_play else 0)
    halflives = (
        turns / _param(request, "chosenMoveTemperatureHalflife") * 19 / math.sqrt(position.x_size * position.y_size)
    )
    return float(late + (early - late) * 0.5**halflives)


def draw(values: Sequence[float], temperature: float, only_below: float, chance: random.Random) -> int:
    """An index, each with the chance that its share of the best value gives it at this temperature. Values whose share
    of all is above `only_below` keep their place."""
    best = max(range(len(values)), key=values.__getitem__)
    if values[best] <= 0 or (temperature <= _NO_TEMPERATURE and only_below >= 1):
        return best
    top = math.log(values[best])
    total = math.log(sum(value for value in values if value > 0))
    threshold = min(0.0, math.log(max(1e-50, only_below)) + total - top)
    weights = []
    for value in values:
        log = math.log(value) - top if value > 0 else -math.inf
        if log <= threshold:
            log = (log - threshold) / max(temperature, _NO_TEMPERATURE) + threshold
        weights.append(math.exp(log))
    return chance.choices(range(len(values)), weights)[0]


def _param(request: SearchRequest, name: str) -> float:
    return float(request.overrides.get(name, SEARCH_PARAMS[name].default))
