"""What the front and the worker say to each other, and what the protocols ask of an engine.

Front and worker exchange msgpack of these structs over a socket pair, each frame led by its length as a 4-byte
big-endian number. Every request carries the whole position, so that a new worker can answer an old question.
Everything is from White's side (win rates, leads, ownership) unless a name says otherwise; the protocols turn it.
No numpy here: the front imports this module.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from agent.engine.rules import Rules

# ---------------------------------------------------------------- positions


class Position(msgspec.Struct, frozen=True):
    """A game from its start. Points and colours are those of `points.py`.

    `initial_stones` are (colour, point) and may hold stones without liberties; `moves` are (colour, point) in order,
    passes included. `initial_player` moves first when `moves` is empty. `prevent_encore` is KataGo's
    preventCleanupPhase: moves of the game itself never enter the encore, those of the search tree do.
    """

    x_size: int
    y_size: int
    rules: Rules
    komi: float
    initial_stones: tuple[tuple[int, int], ...] = ()
    initial_player: int = 1
    moves: tuple[tuple[int, int], ...] = ()
    prevent_encore: bool = True

    @property
    def to_play(self) -> int:
        """The side that is to move: the other one after a move, `initial_player` before any."""
        return 3 - self.moves[-1][0] if self.moves else self.initial_player


# ---------------------------------------------------------------- front → worker


class MoveLimit(msgspec.Struct, frozen=True):
    """Forbid (`allow` false) or allow nothing but (`allow` true) `points` for `player` in the tree's first
    `until_depth` plies (1 is the root)."""

    player: int
    points: tuple[int, ...]
    until_depth: int
    allow: bool = False


class SearchRequest(msgspec.Struct, frozen=True, tag="search"):
    """Search `position` for `player` until one of the limits is reached or a `StopRequest` comes.

    `tree` names the tree to go on with: requests with the same non-empty name share one tree, which is re-rooted when
    the new position extends or equals the old one. Visits of a reused tree count towards `max_visits`, not towards
    `max_playouts` (KataGo's maxPlayouts).
    Requests of one `client` are served highest `priority` first, equal ones in order of arrival, or in equal shares
    where one that runs has a time limit; `max_time_s` is time in which none of a higher priority runs. Clients are
    served in turn, so that nobody's long analysis keeps another's move waiting. `background` ones (pondering) wait for
    the rest.
    `overrides` holds search parameters by KataGo's names (cpuctExploration, wideRootNoise, …) as `SearchParams` reads
    them; the front has checked the names. `human_profile` is whom a human-style network imitates; empty for whom the
    worker was started with. `turns_before` is how many turns old the game counts as before its first move, where chance
    in the choice of moves is larger at first (KataGo's initialTurnNumber).
    """

    id: int
    position: Position
    player: int
    max_visits: int
    max_playouts: int | None = None
    max_time_s: float | None = None
    tree: str = ""
    client: str = ""
    priority: float = 0.0
    background: bool = False
    report_every_s: float | None = None
    first_report_after_s: float | None = None
    limits: tuple[MoveLimit, ...] = ()
    pv_len: int = 15
    ownership: bool = False
    ownership_stdev: bool = False
    moves_ownership: bool = False
    moves_ownership_stdev: bool = False
    policy: bool = False
    overrides: dict[str, float | int | bool] = {}
    human_profile: str = ""
    turns_before: int = 0

    def visits_from(self, known: int) -> int:
        """How many visits the root may have in the end, where the tree had `known` of them before."""
        return self.max_visits if self.max_playouts is None else min(self.max_visits, known + self.max_playouts)


class RawRequest(msgspec.Struct, frozen=True, tag="raw"):
    """One evaluation of the network without search, as kata-raw-nn prints it. `symmetry` 0–7; `optimism` 0–1 mixes
    the optimistic policy in where the network has one. `advantage` is `player`'s playoutDoublingAdvantage. `client` and
    `human_profile` as in `SearchRequest`."""

    id: int
    position: Position
    player: int
    client: str = ""
    symmetry: int = 0
    optimism: float = 0.0
    advantage: float = 0.0
    human_profile: str = ""


class StopRequest(msgspec.Struct, frozen=True, tag="stop"):
    """End request `id`: a running search reports what it has as final; a queued one reports no results."""

    id: int


class ClearCache(msgspec.Struct, frozen=True, tag="clear_cache"):
    """Forget cached evaluations and all trees, that of a search under way when it ends."""


class Ping(msgspec.Struct, frozen=True, tag="ping"):
    """Answered by a `Heartbeat` at once."""


FrontMessage = SearchRequest | RawRequest | StopRequest | ClearCache | Ping


# ---------------------------------------------------------------- worker → front


class MoveInfo(msgspec.Struct, frozen=True):
    """One root move. `prior` is −1 where unknown; `pv` begins with the move itself. Ownership is row-major, White
    positive. `edge_weight` is None where it is as great a part of `weight` as `edge_visits` is of `visits`."""

    move: int
    visits: int
    edge_visits: int
    winrate: float
    score_lead: float
    score_selfplay: float
    score_stdev: float
    utility: float
    lcb: float
    utility_lcb: float
    prior: float
    weight: float
    play_selection_value: float
    order: int
    no_result: float
    pv: tuple[int, ...]
    pv_visits: tuple[int, ...]
    pv_edge_visits: tuple[int, ...]
    ownership: tuple[float, ...] | None = None
    ownership_stdev: tuple[float, ...] | None = None
    symmetry_of: int | None = None
    edge_weight: float | None = None


class RootInfo(msgspec.Struct, frozen=True):
    """Values of the root after search, and of the raw network there (`raw_*`). Hashes are 32 hex digits."""

    player: int
    visits: int
    winrate: float
    score_lead: float
    score_selfplay: float
    score_stdev: float
    utility: float
    weight: float
    this_hash: str
    sym_hash: str
    no_result: float
    raw_winrate: float
    raw_lead: float
    raw_score_selfplay: float
    raw_score_selfplay_stdev: float
    raw_no_result: float
    raw_st_wr_error: float
    raw_st_score_error: float
    raw_var_time_left: float


class SearchStats(msgspec.Struct, frozen=True):
    """What one search cost. `visits` counts new playouts of this search only; of these, `evaluations` ran the network,
    `cache_hits` were answered by the cache and `terminal` ended at a finished game."""

    visits: int
    evaluations: int
    cache_hits: int
    terminal: int
    duration_s: float


class SearchReport(msgspec.Struct, frozen=True, tag="search_report"):
    """A partial (`final` false) or the one final report of a search. `root` is None when there is nothing to report
    (stopped while queued). `moves` are in KataGo's order, best first. `chosen` is the move to play, also where the
    game is over: KataGo plays on. `policy` has area+1 entries, pass last, −1 where illegal. `error` tells why the
    engine could not answer; then everything else is empty."""

    id: int
    final: bool
    root: RootInfo | None = None
    moves: tuple[MoveInfo, ...] = ()
    chosen: int | None = None
    ownership: tuple[float, ...] | None = None
    ownership_stdev: tuple[float, ...] | None = None
    policy: tuple[float, ...] | None = None
    stats: SearchStats | None = None
    error: str | None = None


class RawReport(msgspec.Struct, frozen=True, tag="raw_report"):
    """The network's outputs after KataGo's post-processing, for symmetry `symmetry`. `policy` is area+1 long, pass
    last, −1 where illegal; `ownership` is White positive. Short-term errors are −1 where the network has none.
    `error` as in `SearchReport`."""

    id: int
    symmetry: int = 0
    white_win: float = 0.0
    white_loss: float = 0.0
    no_result: float = 0.0
    white_lead: float = 0.0
    white_score_selfplay: float = 0.0
    white_score_selfplay_sq: float = 0.0
    var_time_left: float = -1.0
    shortterm_winloss_error: float = -1.0
    shortterm_score_error: float = -1.0
    policy: tuple[float, ...] = ()
    ownership: tuple[float, ...] = ()
    error: str | None = None


class EngineReady(msgspec.Struct, frozen=True, tag="ready"):
    """Sent once, when the worker can search. `network_version` is the file format's (8 for g170 networks);
    `has_human_sl` tells that the network imitates players, `human_profile` whom; with `imitates_anybody` a request may
    name somebody else, with `imitates_pairs` one player against another (`rank_9k_3d`), too."""

    pid: int
    network: str
    network_version: int
    network_sha256: str
    precision: str
    backend: str
    threads: int
    batch: int
    has_human_sl: bool = False
    human_profile: str = ""
    imitates_anybody: bool = False
    imitates_pairs: bool = False
    runtime_versions: dict[str, str] = {}


class Heartbeat(msgspec.Struct, frozen=True, tag="heartbeat"):
    """Sent every `HEARTBEAT_S` and for every ping. Totals count from the worker's start. `searching` requests run,
    `queued` wait."""

    queued: int
    searching: int
    visits_total: int
    evaluations_total: int
    cache_hits_total: int
    rss_bytes: int


class EngineFailed(msgspec.Struct, frozen=True, tag="failed"):
    """The worker cannot start or go on; it ends after this. `reason` and `fix` are for people. `hopeless` tells that
    another start would end the same way."""

    reason: str
    fix: str
    hopeless: bool = False


WorkerMessage = SearchReport | RawReport | EngineReady | Heartbeat | EngineFailed

# So long a native katago may take to be ready: a first start tunes OpenCL or builds a TensorRT engine, minutes, on a
# Jetson a quarter of an hour.
NATIVE_START_S = 1500.0

# Half the shortest analysis interval a GUI asks for is far below this; a board under load still meets it.
HEARTBEAT_S = 0.5


# ---------------------------------------------------------------- what the protocols see


class ReportSink(Protocol):
    def __call__(self, report: SearchReport | RawReport) -> None:
        """Take a report. The last one for a request is final (a `RawReport`, or `final` true)."""


class Engine(Protocol):
    """An engine as the service sees it. All calls come from one thread (the event loop) and return at once."""

    @property
    def ready(self) -> EngineReady | None:
        """What serves now; None while no worker is ready."""

    def submit(self, request: SearchRequest | RawRequest, deliver: ReportSink) -> None:
        """Queue a request. `deliver` is called on the event loop, at least once, finally with the final report, also
        when the worker dies meanwhile (the request is sent again) or cannot come back (a report with `error`)."""

    def stop(self, request_id: int) -> None:
        """Ask for the final report of a request now. Unknown ids are ignored."""

    def clear_cache(self) -> None:
        """Forget cached evaluations and trees."""

    def next_id(self) -> int:
        """A request id that was never used in this process."""
