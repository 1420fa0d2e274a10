"""One evaluation of a network without search, as KataGo's kata-raw-nn gives it. Start at `raw_evaluation`.

The way of a position through here is also the search's: core encodes → backend runs → core post-processes.
"""

from __future__ import annotations

import ctypes

import numpy as np

from agent.engine.backends.interface import GLOBAL_CHANNELS, SPATIAL_CHANNELS, Array, Backend, NetworkInfo, Outputs
from agent.engine.game import Game
from agent.engine.library import CEncodeOptions, CEvaluation, CPostParams, load
from agent.engine.messages import Position, RawReport
from agent.errors import EngineError

# KataGo's networks take at most five moves of history.
HISTORY_MOVES = 5


class OutputNotFinite(EngineError):
    """A network gave infinities or not-a-number."""

    fix = "Pull or convert the network again; if it stays so, choose another backend or precision."


def raw_evaluation(
    position: Position,
    player: int,
    symmetry: int,
    optimism: float,
    backend: Backend,
    request_id: int = 0,
    *,
    advantage: float = 0.0,
) -> RawReport:
    """What the network says of `position` with `player` to move.

    `symmetry` 0–7 turns the board before the network sees it and the answer back. `optimism` 0–1 mixes the optimistic
    policy in where the network has one. `advantage` is `player`'s playoutDoublingAdvantage, −3 to 3. Where `player` is
    not the side to move, the history starts anew, as in KataGo. On a board that is not square 4–7 turn it as 0–3 do:
    KataGo's GTP runs the network at the board's own size there.

    Raises:
        IllegalMove, RulesError, ValueError: as `Game.from_position`; or `symmetry` is none.
        OutputNotFinite: the network gave numbers that are none.
        BackendUnavailable: see `Backend.evaluate`.
    """
    if not 0 <= symmetry <= 7:
        raise ValueError(f"symmetries are 0 to 7, not {symmetry}")
    game = Game.from_position(position)
    if player != game.to_play:
        game.restart(player)
    game.set_pass_alive_under_suicide(backend.network.prefer_pass_alive)
    turn = symmetry if game.x_size == game.y_size else symmetry % 4
    spatial, global_ = encode(game, player, turn, advantage)
    outputs = backend.evaluate(spatial[np.newaxis], global_[np.newaxis])
    values, policy, ownership = post_process(game, player, backend.network, outputs, optimism, turn)
    return RawReport(
        id=request_id,
        symmetry=symmetry,
        white_win=values.white_win,
        white_loss=values.white_loss,
        no_result=values.no_result,
        white_lead=values.white_lead,
        white_score_selfplay=values.white_score_mean,
        white_score_selfplay_sq=values.white_score_mean_sq,
        var_time_left=values.var_time_left,
        shortterm_winloss_error=values.shortterm_winloss_error,
        shortterm_score_error=values.shortterm_score_error,
        policy=tuple(policy.tolist()),
        ownership=tuple(ownership.tolist()),
    )


def encode(game: Game, player: int, symmetry: int, advantage: float = 0.0) -> tuple[Array, Array]:
    """KataGo's V7 inputs: spatial [22, rows, columns] and global [19], float32. Rows and columns are y_size and x_size,
    swapped by symmetries 4–7. Raises ValueError for a symmetry outside 0–7 or a colour that is no player."""
    transposed = symmetry >= 4
    rows, columns = (game.x_size, game.y_size) if transposed else (game.y_size, game.x_size)
    spatial = np.empty((SPATIAL_CHANNELS, rows, columns), np.float32)
    global_ = np.empty(GLOBAL_CHANNELS, np.float32)
    options = CEncodeOptions(
        max_history=HISTORY_MOVES, draw_equivalent_wins_for_white=0.5, playout_doubling_advantage=advantage
    )
    encoded = load().ka_encode(
        game.handle, player, ctypes.byref(options), symmetry, spatial.ctypes.data, global_.ctypes.data
    )
    if not encoded:
        raise ValueError(f"symmetry {symmetry} for colour {player} cannot be encoded")
    return spatial, global_


def post_process(
    game: Game, player: int, network: NetworkInfo, outputs: Outputs, optimism: float, symmetry: int
) -> tuple[CEvaluation, Array, Array]:
    """The first position of `outputs` as probabilities and points from White's side (`core/evaluation.h`), policy
    [area + 1] with −1 where illegal, ownership [area]. Raises OutputNotFinite."""
    values = CEvaluation()
    policy = np.empty(game.area + 1, np.float32)
    ownership = np.empty(game.area, np.float32)
    raw = [np.ascontiguousarray(part[0], np.float32) for part in outputs]
    addresses = [part.ctypes.data for part in raw]
    processed = load().ka_post_process(
        *(game.handle, player, ctypes.byref(_post_params(network)), optimism, symmetry),
        *addresses,
        *(ctypes.byref(values), policy.ctypes.data, ownership.ctypes.data),
    )
    if not processed:
        raise OutputNotFinite(f"network {network.name} gave a value that is not finite")
    return values, policy, ownership


def _post_params(network: NetworkInfo) -> CPostParams:
    names = [name for name, *_ in CPostParams._fields_]
    return CPostParams(**{name: getattr(network, name) for name in names})
