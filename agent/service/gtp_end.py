"""GTP's questions about the end of a game: score and status of stones. Each is a job, see `gtp_searches.Job`.

Source: KataGo cpp/command/gtp.cpp (computeAnticipatedWinnerAndScore, computeAnticipatedStatuses) and
cpp/program/playutils.cpp (computeLead, computeAnticipatedStatusesWithOwnership).
"""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass, field

import msgspec

from agent.engine.points import WHITE
from agent.errors import CommandRefused
from agent.service.chains import chain
from agent.service.gtp_format import points_text, score_text
from agent.service.gtp_reply import Reply
from agent.service.gtp_searches import Job, Report, ask_quietly
from agent.service.gtp_state import GtpState
from agent.service.numbers import round_half_away
from agent.service.outputs import Output
from agent.service.resignation import win_loss

# KataGo's visits for one search about the end of the game, at least and per thread.
SCORE_VISITS, SCORE_VISITS_PER_THREAD = 50, 10
STATUS_VISITS, STATUS_VISITS_PER_THREAD = 100, 20

# A chain lives where its points are its owner's by this on average, and nowhere worse than that.
_ALIVE_AVERAGE, _ALIVE_WORST = 0.2, -0.6

# No komi is tried that is further from zero than the board's area and this (KataGo's KOMI_CLIP_RADIUS).
_KOMI_MARGIN = 20.0
# KataGo follows the predicted lead so often, until it is small; then the winner decides, in a window that doubles.
_SHIFTS, _SMALL_SHIFT, _WINDOWS = 3, 16.0, 6
# A shift made things worse: points and win-loss by which it did, where the game is not all but decided.
_WORSE_POINTS, _WORSE_WIN_LOSS, _DECIDED = 5.0, 0.1, 0.75

_Number = Generator[list[Output], Report, float]


def final_score(state: GtpState, args: list[str], reply: Reply, command: str) -> Job:
    """A game that its rules have counted is told as counted; any other is estimated."""
    del args, command
    score = yield from white_score(state)
    return [reply.ok(score_text(score))]


def white_score(state: GtpState) -> _Number:
    """White's points minus Black's. Raises CommandRefused where the engine cannot answer."""
    if _is_counted(state):
        return state.game.final_white_score()
    lead = yield from _Komis(state).white_lead()
    is_whole = (state.position.komi == int(state.position.komi)) != state.position.rules.has_button
    return round_half_away(lead) if is_whole else round_half_away(lead + 0.5) - 0.5


def final_status_list(state: GtpState, args: list[str], reply: Reply, command: str) -> Job:
    if len(args) != 1:
        raise CommandRefused(f"Expected one argument for {command} but got '{' '.join(args)}'")
    status = args[0]
    if status not in ("alive", "seki", "dead"):
        raise CommandRefused("Argument to final_status_list must be 'alive' or 'seki' or 'dead'")

    def ask() -> Job:
        colors = state.game.stones()
        if status == "seki":
            # As KataGo: stones in seki are told as alive.
            return [reply.ok("")]
        if _is_counted(state):
            owners = state.game.final_area()
            alive = [bool(color) and owner in (color, 0) for color, owner in zip(colors, owners, strict=True)]
        else:
            visits = max(STATUS_VISITS, STATUS_VISITS_PER_THREAD * _threads(state))
            report = yield from ask_quietly(state, state.position, state.game.to_play, visits, ownership=True)
            alive = living_stones(colors, report.ownership or (), state.sizes)
        found = [point for point, color in enumerate(colors) if color and alive[point] == (status == "alive")]
        return [reply.ok(points_text(found, state.sizes))]

    return ask()


def _is_counted(state: GtpState) -> bool:
    rules = state.position.rules
    return state.game.finished and not (rules.scoring == "AREA" and rules.friendly_pass_ok)


def _threads(state: GtpState) -> int:
    ready = state.ready()
    return ready.threads if ready is not None else 1


def living_stones(colors: tuple[int, ...], ownership: tuple[float, ...], sizes: tuple[int, int]) -> list[bool]:
    """For each point whether a stone that lives is on it, by who is expected to own its chain (White positive)."""
    alive = [False] * len(colors)
    seen: set[int] = set()
    for start, color in enumerate(colors):
        if not color or start in seen:
            continue
        stones = chain(colors, start, sizes)
        seen |= stones
        own = [ownership[point] if color == WHITE else -ownership[point] for point in stones]
        if sum(own) / len(own) > _ALIVE_AVERAGE and min(own) > _ALIVE_WORST:
            for point in stones:
                alive[point] = True
    return alive


# ---------------------------------------------------------------- the lead


@dataclass
class _Komis:
    """Looks for the komi that makes a position even; what the real komi is short of that is the lead. A network's own
    lead is a guess at self-play's ends, who wins under a komi is what searches are good at."""

    state: GtpState
    known: dict[float, tuple[float, float]] = field(default_factory=dict)

    def white_lead(self) -> _Number:
        komi, rules = self.state.position.komi, self.state.position.rules
        even = yield from self._even_komi()
        is_coarse = rules.scoring == "AREA" and not rules.has_button
        if not is_coarse or even == round_half_away(even):
            return komi - even
        # Area scores come in steps of two points: average over a step and find where that is even.
        low = math.floor(even * 2.0) * 0.5
        high = low + 0.5
        below = 0.5 * ((yield from self._win_loss(high)) + (yield from self._win_loss(low - 0.5)))
        above = 0.5 * ((yield from self._win_loss(high + 0.5)) + (yield from self._win_loss(low)))
        if below >= above:
            return komi - 0.5 * (low + high)
        found = low + (high - low) * -below / (above - below)
        return komi - min(max(found, low - 0.5), high + 0.5)

    def _even_komi(self) -> _Number:
        komi = yield from self._near_komi()
        # White wins more with more komi: walk to where the winner changes, then halve the way.
        low, high = 0.0, 0.0
        is_lost = (yield from self._win_loss(komi)) < 0
        for doubling in range(_WINDOWS):
            if is_lost:
                high = 2.0**doubling
                found = (yield from self._win_loss(komi + high)) >= 0
            else:
                low = -(2.0**doubling)
                found = (yield from self._win_loss(komi + low)) <= 0
            if found:
                break
        while high - low > 0.5:
            middle = 0.5 * (low + high)
            if (yield from self._win_loss(komi + middle)) < 0:
                low = middle
            else:
                high = middle
        below, above = (yield from self._win_loss(komi + low)), (yield from self._win_loss(komi + high))
        if below >= above:
            return komi + 0.5 * (low + high)
        if above <= 0:
            return komi + high
        if below >= 0:
            return komi + low
        return komi + low + (high - low) * -below / (above - below)

    def _near_komi(self) -> _Number:
        """A komi near the even one, by the predicted leads."""
        komi = self.state.position.komi
        last_shift = last_lead = last_value = 0.0
        for turn in range(_SHIFTS):
            lead, value = yield from self._search(komi)
            if turn and _got_worse(last_lead, lead, last_value, value):
                return self._clip(komi - 0.5 * last_shift)
            shift = -lead if not turn else math.copysign(min(abs(lead), abs(last_shift)), -lead)
            if shift > 0 and value > 0:
                return komi  # points and winner disagree
            last_lead, last_value, last_shift = lead, value, shift
            komi = self._clip(komi + shift)
            if abs(shift) < _SMALL_SHIFT:
                break
        return komi

    def _win_loss(self, komi: float) -> _Number:
        return (yield from self._search(self._clip(komi)))[1]

    def _search(self, komi: float) -> Generator[list[Output], Report, tuple[float, float]]:
        """White's lead and winning minus losing under a komi."""
        if komi not in self.known:
            state = self.state
            visits = max(SCORE_VISITS, SCORE_VISITS_PER_THREAD * _threads(state))
            position = msgspec.structs.replace(state.position, komi=komi)
            report = yield from ask_quietly(state, position, state.game.to_play, visits)
            assert report.root is not None
            self.known[komi] = report.root.score_lead, win_loss(report.root.winrate)
        return self.known[komi]

    def _clip(self, komi: float) -> float:
        limit = _KOMI_MARGIN + self.state.area
        return 0.5 * round_half_away(2.0 * min(max(komi, -limit), limit))


def _got_worse(last_lead: float, lead: float, last_value: float, value: float) -> bool:
    """Whether a shift of the komi made a lead or a win larger that it was to level."""
    return (
        (last_lead > 0 and lead > last_lead + _WORSE_POINTS and value < _DECIDED)
        or (last_lead < 0 and lead < last_lead - _WORSE_POINTS and value > -_DECIDED)
        or (last_value > 0 and value > last_value + _WORSE_WIN_LOSS)
        or (last_value < 0 and value < last_value - _WORSE_WIN_LOSS)
    )
