"""What comes back, frozen. Everything is from Black's side, whoever is to move; native KataGo and ours alike.

Units: win rates, priors and chances are shares from 0 to 1; scores and leads are points, positive where Black is ahead;
utilities are KataGo's own, about −1 to 1; ownership is −1 (White's) to 1 (Black's), row-major from the top left point.
A field that an engine did not send has its default. Names are KataGo's (docs/Analysis_Engine.md), in Python's spelling.
"""

from __future__ import annotations

import msgspec


class MoveInfo(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One move that the search looked at. `order` 0 is the best. `lcb` bounds the win rate on the side of whoever
    moves: for White it is an upper bound of Black's chance. `pv` begins with the move itself."""

    move: str
    visits: int
    winrate: float
    score_lead: float
    order: int
    prior: float = 0.0
    pv: tuple[str, ...] = ()
    lcb: float | None = None
    score_stdev: float | None = None
    score_selfplay: float | None = None
    utility: float | None = None
    utility_lcb: float | None = None
    weight: float | None = None
    edge_visits: int | None = None
    edge_weight: float | None = None
    play_selection_value: float | None = None
    is_symmetry_of: str | None = None
    human_prior: float | None = None
    no_result_value: float | None = None
    pv_visits: tuple[int, ...] = ()
    pv_edge_visits: tuple[int, ...] = ()
    ownership: tuple[float, ...] = ()
    ownership_stdev: tuple[float, ...] = ()


class RootInfo(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The position itself. `current_player` ("B" or "W") is to move. `raw_…` are the network's own, without search."""

    current_player: str
    visits: int
    winrate: float
    score_lead: float
    score_stdev: float | None = None
    score_selfplay: float | None = None
    utility: float | None = None
    weight: float | None = None
    this_hash: str = ""
    sym_hash: str = ""
    raw_winrate: float | None = None
    raw_lead: float | None = None
    raw_score_selfplay: float | None = None
    raw_score_selfplay_stdev: float | None = None
    raw_no_result_prob: float | None = None
    raw_st_wr_error: float | None = None
    raw_st_score_error: float | None = None
    raw_var_time_left: float | None = None


class Analysis(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One turn's report; with `is_during_search` a partial one, which a later one replaces. `policy` has the pass last
    and −1 where a move is illegal."""

    id: str
    turn_number: int
    root_info: RootInfo
    is_during_search: bool = False
    move_infos: tuple[MoveInfo, ...] = ()
    ownership: tuple[float, ...] = ()
    ownership_stdev: tuple[float, ...] = ()
    policy: tuple[float, ...] = ()

    @property
    def best(self) -> MoveInfo:
        """The move to play.

        Raises ValueError where the search has not looked at any.
        """
        if not self.move_infos:
            raise ValueError(f"the report of turn {self.turn_number} holds no move")
        return min(self.move_infos, key=lambda info: info.order)


class EngineWarning(msgspec.Struct, frozen=True):
    """What the engine found odd. `id` names the query and `field` its field; both are empty where it is about none."""

    text: str
    field: str = ""
    id: str = ""


class EngineVersion(msgspec.Struct, frozen=True):
    """`version` begins with KataGo's release, such as 1.17.2."""

    version: str
    git_hash: str = ""


class Model(msgspec.Struct, frozen=True, rename="camel"):
    """A network that the engine has loaded. `using_fp16` is KataGo's word: true, false or auto."""

    name: str = ""
    internal_name: str = ""
    version: int = 0
    max_batch_size: int = 0
    uses_human_profile: bool = msgspec.field(default=False, name="usesHumanSLProfile")
    using_fp16: str | bool = msgspec.field(default="", name="usingFP16")
