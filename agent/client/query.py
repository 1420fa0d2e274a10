"""What is asked: one analysis query, in Python's spelling of KataGo's fields. Pure.

Source of names and meanings: KataGo docs/Analysis_Engine.md.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

# A colour and a GTP vertex: ("B", "Q16"), ("W", "pass"). KataGo reads both in any case.
Move = tuple[str, str]

# Ours to set: `results.py` promises Black's side.
PERSPECTIVE: Final = "reportAnalysisWinratesAs"


class MoveLimit(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Forbids `moves` (in `Query.avoid_moves`), or all others (in `Query.allow_moves`), to `player` ("B" or "W") in the
    first `until_depth` plies of the search; 1 is the next move."""

    player: str
    moves: tuple[str, ...]
    until_depth: int = 1


class Query(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A game, which of its turns to analyse, and how. What is None or False is left to the engine.

    `moves` is the whole game; `analyze_turns` counts moves, so 0 is the empty board and None is the last position.
    `rules` is a name such as "chinese", or KataGo's rules object. `komi` in points. `max_time_s` limits each search.
    `report_every_s` makes `stream` give partial reports; `priority` is higher for what comes first.

    Raises ValueError where `override_settings` holds the one setting that the client needs, `reportAnalysisWinratesAs`,
    or where no turn is to be analysed.
    """

    moves: tuple[Move, ...] = ()
    rules: str | dict[str, Any] = "tromp-taylor"
    komi: float | None = None
    board_x_size: int = 19
    board_y_size: int = 19
    initial_stones: tuple[Move, ...] = ()
    initial_player: Literal["B", "W"] | None = None
    analyze_turns: tuple[int, ...] | None = None
    max_visits: int | None = None
    max_time_s: float | None = None
    include_ownership: bool = False
    include_ownership_stdev: bool = False
    include_moves_ownership: bool = False
    include_moves_ownership_stdev: bool = False
    include_policy: bool = False
    include_pv_visits: bool = msgspec.field(default=False, name="includePVVisits")
    include_no_result_value: bool = False
    report_every_s: float | None = msgspec.field(default=None, name="reportDuringSearchEvery")
    first_report_after_s: float | None = msgspec.field(default=None, name="firstReportDuringSearchAfter")
    analysis_pv_len: int | None = msgspec.field(default=None, name="analysisPVLen")
    root_policy_temperature: float | None = None
    root_fpu_reduction_max: float | None = None
    white_handicap_bonus: Literal["0", "N", "N-1"] | None = None
    priority: int | None = None
    priorities: tuple[int, ...] | None = None
    avoid_moves: tuple[MoveLimit, ...] = ()
    allow_moves: tuple[MoveLimit, ...] = ()
    override_settings: dict[str, str | float | int | bool] = {}

    def __post_init__(self) -> None:
        if self.analyze_turns == ():
            raise ValueError("there is no turn to analyse; leave analyze_turns out for the last position")
        if PERSPECTIVE in self.override_settings:
            raise ValueError(f"{PERSPECTIVE} is the client's own: every result is from Black's side")

    @property
    def turns(self) -> tuple[int, ...]:
        """The turns that will be answered, ascending, each once."""
        if self.analyze_turns is None:
            return (len(self.moves),)
        return tuple(sorted(set(self.analyze_turns)))


def wire_fields(query: Query) -> dict[str, Any]:
    """The query as KataGo's fields, without an id."""
    fields = {name: value for name, value in msgspec.to_builtins(query).items() if _is_said(name, value)}
    settings: dict[str, Any] = {PERSPECTIVE: "BLACK", **query.override_settings}
    if query.max_time_s is not None:
        settings["maxTime"] = query.max_time_s
    return fields | {"overrideSettings": settings}


# What KataGo demands of every query, whatever the values.
_REQUIRED: Final = ("moves", "rules", "boardXSize", "boardYSize")


def _is_said(name: str, value: object) -> bool:
    if name in _REQUIRED:
        return True
    return name != "maxTimeS" and value is not None and value is not False and value != [] and value != ()
