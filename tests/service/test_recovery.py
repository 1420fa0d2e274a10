"""The rules of recovery under any order of events: nothing is lost or answered twice, and nobody waits for ever."""

from __future__ import annotations

from collections import Counter

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agent.engine.messages import (
    EngineFailed,
    EngineReady,
    Heartbeat,
    Position,
    RawReport,
    RawRequest,
    SearchReport,
    SearchRequest,
)
from agent.engine.rules import Rules
from agent.events import EngineFellBack, EngineGone, EngineUp
from agent.service.recovery import (
    GUILTY_DEATHS,
    NO_FIX,
    SUSPECT_DEATHS,
    Action,
    Deliver,
    Kill,
    Limits,
    Recovery,
    Send,
    Start,
    Tell,
)

POSITION = Position(x_size=9, y_size=9, rules=Rules(), komi=7.5)
READY = EngineReady(
    pid=1,
    network="n",
    network_version=8,
    network_sha256="",
    precision="fp32",
    backend="b",
    threads=1,
    batch=1,
)


def search(number: int) -> SearchRequest:
    return SearchRequest(id=number, position=POSITION, player=1, max_visits=10)


def beat(visits: int) -> Heartbeat:
    return Heartbeat(queued=0, searching=1, visits_total=visits, evaluations_total=0, cache_hits_total=0, rss_bytes=0)


class Machine(RuleBasedStateMachine):
    """A worker that may do anything at any time, and a client that asks and stops."""

    ways = 1

    def __init__(self) -> None:
        super().__init__()
        self.recovery = Recovery(ways=self.ways)
        self.now_s = 0.0
        self.alive = False
        self.asked: dict[int, bool] = {}
        self.finals: Counter[int] = Counter()
        self.at_worker: list[int] = []
        self.do(self.recovery.begin(self.now_s))

    def do(self, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Start):
                assert not self.alive, "two workers at once"
                assert action.way == self.recovery.way < self.ways
                self.alive = True
            elif isinstance(action, Kill):
                self.do(self.recovery.gone(1, action.reason, self.now_s) if self.die() else [])
            elif isinstance(action, Send):
                assert self.alive and self.recovery.state == "up", "spoke to a worker that is not up"
                if isinstance(action.message, SearchRequest | RawRequest):
                    assert action.message.id not in self.at_worker, "asked one worker twice"
                    self.at_worker.append(action.message.id)
            elif isinstance(action, Deliver):
                report = action.report
                if isinstance(report, RawReport) or report.final:
                    self.finals[report.id] += 1
                    assert self.finals[report.id] == 1, "a second final report"
                    if report.id in self.at_worker:
                        self.at_worker.remove(report.id)

    def die(self) -> bool:
        was_alive, self.alive, self.at_worker = self.alive, False, []
        return was_alive

    @rule(raw=st.booleans())
    def ask(self, raw: bool) -> None:
        number = len(self.asked) + 1
        self.asked[number] = raw
        request = RawRequest(id=number, position=POSITION, player=1) if raw else search(number)
        self.do(self.recovery.submit(request, lambda report: None, self.now_s))

    @rule(data=st.data())
    def stop(self, data: st.DataObject) -> None:
        self.do(self.recovery.stop(data.draw(st.integers(0, len(self.asked) + 1))))

    @precondition(lambda self: self.alive and self.recovery.state == "starting")
    @rule(fails=st.booleans(), hopeless=st.booleans())
    def start(self, fails: bool, hopeless: bool) -> None:
        failed = EngineFailed(reason="r", fix="f", hopeless=hopeless)
        self.do(self.recovery.hear(failed if fails else READY, self.now_s))

    @precondition(lambda self: self.alive and self.recovery.state == "up" and self.at_worker)
    @rule(data=st.data(), final=st.booleans())
    def answer(self, data: st.DataObject, final: bool) -> None:
        number = data.draw(st.sampled_from(self.at_worker))
        report = RawReport(id=number) if self.asked[number] else SearchReport(id=number, final=final)
        self.do(self.recovery.hear(report, self.now_s))

    @precondition(lambda self: self.alive)
    @rule()
    def crash(self) -> None:
        self.die()
        self.do(self.recovery.gone(1, "crashed", self.now_s))

    @rule(seconds=st.sampled_from([0.1, 0.25, 5.0, 40.0, 400.0]), visits=st.integers(0, 3))
    def wait(self, seconds: float, visits: int) -> None:
        self.now_s += seconds
        if self.alive and self.recovery.state == "up":
            self.do(self.recovery.hear(beat(visits), self.now_s))
        self.do(self.recovery.tick(self.now_s))

    @rule()
    def retry(self) -> None:
        self.do(self.recovery.begin(self.now_s))

    @invariant()
    def every_question_is_held_or_answered_once(self) -> None:
        assert self.recovery.outstanding + sum(self.finals.values()) == len(self.asked)

    @invariant()
    def state_and_worker_agree(self) -> None:
        assert self.alive == (self.recovery.state in ("starting", "up"))
        assert (self.recovery.ready is not None) == (self.recovery.state == "up")

    def teardown(self) -> None:
        """A worker that is well from now on answers everything."""
        for _ in range(3 * len(self.asked) + 40):
            self.now_s += 0.25
            if self.alive and self.recovery.state == "starting":
                self.do(self.recovery.hear(READY, self.now_s))
            for number in list(self.at_worker):
                report = RawReport(id=number) if self.asked[number] else SearchReport(id=number, final=True)
                self.do(self.recovery.hear(report, self.now_s))
            self.do(self.recovery.tick(self.now_s))
        assert self.recovery.outstanding == 0


class TwoWays(Machine):
    """The same with an engine that stands in for the first."""

    ways = 2

    @invariant()
    def who_stands_in_says_why(self) -> None:
        if self.recovery.way and self.recovery.state == "up":
            assert self.recovery.fallen_reason and self.recovery.fallen_fix


TestRecovery = Machine.TestCase
TestRecovery.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestTwoWays = TwoWays.TestCase
TestTwoWays.settings = settings(max_examples=50, stateful_step_count=40, deadline=None)


def up(limits: Limits | None = None) -> Recovery:
    recovery = Recovery(limits or Limits())
    recovery.begin(0.0)
    recovery.hear(READY, 0.0)
    return recovery


def kinds(actions: list[Action]) -> list[type]:
    return [type(action) for action in actions]


def test_a_front_that_slept_gives_the_worker_its_time_again() -> None:
    recovery = up()
    recovery.tick(0.0)
    assert recovery.tick(1000.0) == []
    now_s = 1000.0
    while not (actions := recovery.tick(now_s)):
        now_s += recovery.limits.tick_s
    assert kinds(actions) == [Kill]
    assert now_s - 1000.0 >= recovery.limits.heartbeat_s


def test_heartbeats_without_progress_do_not_save_a_stalled_worker() -> None:
    recovery = up()
    recovery.submit(search(1), lambda report: None, 0.0)
    now_s, actions = 0.0, list[Action]()
    while not actions:
        now_s += recovery.limits.tick_s
        recovery.hear(beat(7), now_s)
        actions = recovery.tick(now_s)
    assert "no progress" in actions[0].reason
    assert recovery.limits.progress_s <= now_s <= recovery.limits.progress_s + 2


def test_an_idle_worker_may_be_idle_for_ever() -> None:
    recovery = up()
    for step in range(4000):
        recovery.hear(beat(7), step / 4)
        assert recovery.tick(step / 4) == []


def test_the_first_restart_is_at_once_and_later_ones_back_off() -> None:
    recovery = up()
    now_s, waits = 100.0, []
    for _ in recovery.limits.backoff_s:
        assert kinds(recovery.gone(1, "x", now_s)) == [Tell]
        begun_s = now_s
        while not recovery.tick(now_s):
            now_s += 0.01
        waits.append(round(now_s - begun_s, 1))
    assert waits == [0.0, 0.5, 1.0, 2.0, 4.0]
    (told,) = recovery.gone(1, "x", now_s)
    assert isinstance(told, Tell) and told.event == EngineGone(pid=1, reason="x", degraded=True, fix=NO_FIX)


def test_from_degraded_it_tries_again_after_the_pause_and_once_more_dead_is_degraded_again() -> None:
    recovery = up()
    for _ in range(recovery.limits.deaths):
        recovery.gone(1, "x", 0.0)
        recovery.tick(10.0)
    assert recovery.state == "degraded"
    assert recovery.tick(recovery.limits.degraded_s - 1) == []
    assert kinds(recovery.tick(recovery.limits.degraded_s + 1)) == [Start]
    recovery.gone(1, "x", 400.0)
    assert recovery.state == "degraded"


def test_an_hour_of_work_forgives_old_deaths() -> None:
    recovery = up()
    recovery.gone(1, "x", 0.0)
    recovery.tick(0.0)
    recovery.hear(READY, 0.0)
    for step in range(1, 400):
        recovery.hear(beat(step), step / 4)
        recovery.tick(step / 4)
    assert recovery.deaths == 0


def test_an_endless_suspect_that_works_lets_the_others_go_on() -> None:
    recovery = up()
    for number in (1, 2):
        recovery.submit(search(number), lambda report: None, 0.0)
    for _ in range(2):
        recovery.gone(1, "killed by somebody", 0.0)
        recovery.tick(10.0)
        sent = recovery.hear(READY, 10.0)
    assert [action.message.id for action in sent if isinstance(action, Send)] == [1]
    later: list[Action] = []
    for step in range(1, 60):
        recovery.hear(beat(step), 10.0 + step / 4)
        later += recovery.tick(10.0 + step / 4)
    assert [action.message.id for action in later if isinstance(action, Send)] == [2]


def live(
    recovery: Recovery, *, poison: int, others_every_s: float, until_s: float
) -> tuple[list[float], dict[int, str]]:
    """A worker with one search thread that beats and never gets on with the request `poison`, which comes first; the
    others, if any, are answered at once. When it was killed, and how each request ended (empty: well), are returned."""
    now_s, waiting, kills, ended = 0.0, list[int](), list[float](), dict[int, str]()

    def act(actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Start):
                waiting.clear()
                act(recovery.hear(READY, now_s))
                act(recovery.hear(beat(0), now_s))
            elif isinstance(action, Kill):
                kills.append(now_s)
                act(recovery.gone(1, action.reason, now_s))
            elif isinstance(action, Send):
                waiting.append(action.message.id)
            elif isinstance(action, Deliver):
                ended[action.report.id] = action.report.error or ""

    act(recovery.begin(now_s))
    act(recovery.submit(search(poison), lambda report: None, now_s))
    number, done = poison, 0
    while now_s < until_s:
        now_s += recovery.limits.tick_s
        if others_every_s and now_s % others_every_s == 0:
            number += 1
            act(recovery.submit(search(number), lambda report: None, now_s))
        while waiting and waiting[0] != poison:
            done += 1
            act(recovery.hear(SearchReport(id=waiting.pop(0), final=True), now_s))
        if recovery.state == "up":
            act(recovery.hear(beat(done), now_s))
        act(recovery.tick(now_s))
    return kills, ended


def test_a_request_that_hangs_the_worker_is_refused_by_itself() -> None:
    recovery = Recovery()
    kills, ended = live(recovery, poison=1, others_every_s=0.0, until_s=600.0)
    assert len(kills) == SUSPECT_DEATHS + GUILTY_DEATHS and "no progress" in ended[1]
    assert recovery.state == "up"


def test_beside_a_request_that_hangs_the_worker_everybody_is_served() -> None:
    recovery = Recovery()
    kills, ended = live(recovery, poison=1, others_every_s=10.0, until_s=600.0)
    assert len(kills) == SUSPECT_DEATHS + GUILTY_DEATHS
    assert "no progress" in ended.pop(1)
    assert len(ended) >= 59 and not any(ended.values())
    assert recovery.state == "up" and recovery.outstanding <= 1


def test_an_engine_whose_every_answer_is_an_error_is_degraded() -> None:
    recovery = up()
    now_s, number = 0.0, 0
    for _ in range(recovery.limits.deaths):
        assert recovery.state == "up"
        for _ in range(3):
            number += 1
            recovery.submit(search(number), lambda report: None, now_s)
            recovery.hear(SearchReport(id=number, final=True, error="not finite"), now_s)
        die(recovery, now_s)
        now_s += max(recovery.limits.backoff_s)
        if Start() in recovery.tick(now_s):
            recovery.hear(READY, now_s)
    assert recovery.state == "degraded"


def test_a_good_answer_forgives_deaths_and_an_error_does_not() -> None:
    recovery = up()
    recovery.gone(1, "x", 0.0)
    recovery.tick(0.0)
    recovery.hear(READY, 0.0)
    for number, error, deaths in ((1, "too large", 1), (2, None, 0)):
        recovery.submit(search(number), lambda report: None, 1.0)
        recovery.hear(SearchReport(id=number, final=True, error=error), 1.0)
        assert recovery.deaths == deaths


def test_a_stopped_search_ends_with_what_it_had_when_the_worker_dies() -> None:
    recovery = up()
    recovery.submit(search(1), lambda report: None, 0.0)
    partial = SearchReport(id=1, final=False, chosen=3)
    recovery.hear(partial, 0.1)
    recovery.stop(1)
    delivered = [action.report for action in recovery.gone(1, "x", 0.2) if isinstance(action, Deliver)]
    assert delivered == [msgspec.structs.replace(partial, final=True)]


def test_an_evaluation_is_taken_back_before_a_worker_is_there() -> None:
    """A client that leaves and comes back while the engine starts would else add one each time."""
    recovery = Recovery()
    recovery.begin(0.0)
    sink = list[RawReport | SearchReport]().append
    recovery.submit(RawRequest(id=1, position=POSITION, player=1), sink, 0.1)
    assert recovery.stop(1) == [Deliver(sink, RawReport(id=1, error="stopped"))]
    assert recovery.outstanding == 0 and recovery.stop(1) == []
    assert not any(isinstance(action, Send) for action in recovery.hear(READY, 1.0))


def test_an_evaluation_that_was_taken_back_is_answered_and_not_asked_of_another_worker() -> None:
    recovery = up()
    for number in (1, 2):
        recovery.submit(RawRequest(id=number, position=POSITION, player=1), lambda report: None, 0.0)
        assert recovery.stop(number) == []
    answers = recovery.hear(RawReport(id=1), 0.1)
    assert [action.report for action in answers if isinstance(action, Deliver)] == [RawReport(id=1)]
    ends = recovery.gone(1, "x", 0.2)
    assert [action.report for action in ends if isinstance(action, Deliver)] == [RawReport(id=2, error="stopped")]
    assert recovery.outstanding == 0


def test_up_is_told_with_what_serves() -> None:
    recovery = Recovery()
    recovery.begin(0.0)
    assert recovery.hear(READY, 1.0) == [Tell(EngineUp(pid=1, network="n", backend="b"))]


# ---------------------------------------------------------------- another engine stands in


def two_ways() -> Recovery:
    recovery = Recovery(ways=2)
    recovery.begin(0.0)
    recovery.hear(READY, 0.0)
    return recovery


def die(recovery: Recovery, now_s: float, *, hopeless: bool = False) -> list[Action]:
    recovery.hear(EngineFailed(reason="no library", fix="Install it.", hopeless=hopeless), now_s)
    return recovery.gone(1, "no library", now_s)


def told(actions: list[Action]) -> list[type]:
    return [type(action.event) for action in actions if isinstance(action, Tell)]


def test_after_three_deaths_in_a_row_the_other_engine_serves_what_was_asked() -> None:
    recovery = two_ways()
    recovery.submit(search(1), lambda report: None, 0.0)
    for death in (1, 2):
        assert told(die(recovery, float(death))) == [EngineGone]
        recovery.tick(death + 0.9)
        recovery.hear(READY, death + 0.9)
    actions = die(recovery, 3.0)
    assert told(actions) == [EngineGone, EngineFellBack] and actions[-1] == Start(1)
    assert (recovery.fallen_reason, recovery.fallen_fix) == ("no library", "Install it.")
    up = recovery.hear(READY, 4.0)
    assert up[0].event.is_fallback
    # The request that the first one died of is asked like any other.
    assert [action.message.id for action in up if isinstance(action, Send)] == [1]


def test_a_hopeless_one_is_not_tried_again() -> None:
    recovery = Recovery(ways=2)
    recovery.begin(0.0)
    assert die(recovery, 0.1, hopeless=True)[-1] == Start(1)


def test_a_hopeless_one_that_nobody_stands_in_for_is_degraded_at_once() -> None:
    recovery = up()
    recovery.submit(search(1), lambda report: None, 0.0)
    actions = die(recovery, 1.0, hopeless=True)
    assert told(actions) == [EngineGone] and recovery.state == "degraded"
    assert "Install it." in next(action.report.error for action in actions if isinstance(action, Deliver))
    assert recovery.begin(2.0) == [Start()]


def test_who_stands_in_serves_until_somebody_asks_for_the_first() -> None:
    recovery = Recovery(ways=2)
    recovery.begin(0.0)
    die(recovery, 0.1, hopeless=True)
    recovery.hear(READY, 1.0)
    recovery.submit(search(1), lambda report: None, 1.0)
    assert kinds(recovery.begin(2.0)) == [Kill]
    actions = recovery.gone(1, "the first engine is to be tried again", 2.1)
    assert kinds(actions) == [Tell, Start] and actions[-1] == Start(0)
    assert recovery.fallen_reason, "it is not up yet"
    again = recovery.hear(READY, 3.0)
    assert not again[0].event.is_fallback and recovery.fallen_reason == ""
    assert [action.message.id for action in again if isinstance(action, Send)] == [1]


def test_one_that_is_being_started_makes_room_when_it_is_up() -> None:
    recovery = Recovery(ways=2)
    recovery.begin(0.0)
    die(recovery, 0.1, hopeless=True)
    recovery.begin(0.2)
    assert kinds(recovery.hear(READY, 0.3)) == [Kill]
    assert recovery.gone(1, "x", 0.4)[-1] == Start(0)


def test_asking_twice_for_the_first_blames_nobody() -> None:
    recovery = Recovery(ways=2)
    recovery.begin(0.0)
    die(recovery, 0.1, hopeless=True)
    recovery.hear(READY, 1.0)
    assert kinds(recovery.begin(2.0)) == [Kill] and recovery.begin(2.1) == []
    assert recovery.gone(1, "the first engine is to be tried again", 2.2)[-1] == Start(0)
    assert recovery.deaths == 0 and recovery.reason == "no library"


def test_when_both_fail_clients_are_told() -> None:
    recovery = Recovery(ways=2)
    recovery.begin(0.0)
    die(recovery, 0.1, hopeless=True)
    now_s = 1.0
    while recovery.state != "degraded":
        recovery.gone(1, "crashed", now_s)
        now_s += 10
        recovery.tick(now_s)
    assert (recovery.reason, recovery.way) == ("crashed", 1)
    assert recovery.begin(now_s) == [Start(0)]
