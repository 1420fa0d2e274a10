"""The native worker around a fake katago that speaks KataGo's analysis interface: answers, order, ends and hangs."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fakes.processes import wait_until_gone
from fakes.worker_front import Running

from agent.engine.messages import (
    ClearCache,
    EngineFailed,
    EngineReady,
    Heartbeat,
    MoveLimit,
    Ping,
    Position,
    RawReport,
    RawRequest,
    SearchReport,
    SearchRequest,
    StopRequest,
)
from agent.engine.native_worker import NativeOptions, Patience, run_native_worker
from agent.engine.points import BLACK, WHITE
from agent.engine.rules import Rules

EMPTY = Position(9, 9, Rules(), 7.0)
ENDLESS = 1 << 50
# Far above what the fake needs for an answer, so that a busy machine is no hang.
PATIENCE = Patience(silent_s=20.0)


@pytest.fixture
def start(fake_katago: Path, tmp_path: Path) -> Iterator[Callable[..., Running]]:
    workers: list[Running] = []

    def begin(manner: str = "", patience: Patience = PATIENCE, **changes: Any) -> Running:
        model = tmp_path / "model.bin.gz"
        model.write_text(manner)
        options = NativeOptions(
            program=fake_katago,
            cfg=None,
            model=model,
            network_sha256="ab" * 32,
            threads=2,
            batch=4,
            cache_positions=5000,
            home=tmp_path / "home",
            seed=1,
        )
        fields = {**{name: getattr(options, name) for name in options.__dataclass_fields__}, **changes}
        workers.append(Running(lambda end: run_native_worker(end, NativeOptions(**fields), patience=patience)))
        return workers[-1]

    yield begin
    for worker in workers:
        worker.end()


def search(number: int, visits: int = 20, **changes: Any) -> SearchRequest:
    return SearchRequest(**{"id": number, "position": EMPTY, "player": BLACK, "max_visits": visits, **changes})


def test_it_says_who_it_is_and_answers(start: Callable[..., Running]) -> None:
    worker = start()
    ready = worker.front.wait_for(EngineReady)
    assert (ready.network, ready.network_version, ready.backend) == ("fake", 8, "katago 9.99, Eigen")
    assert (ready.threads, ready.batch, ready.network_sha256) == (2, 4, "ab" * 32)
    assert ready.runtime_versions == {"katago": "9.99"}
    worker.front.send(search(7, ownership=True, policy=True))
    report = worker.front.final(7)
    assert report.error is None and report.root is not None
    assert report.root.visits == 20 and report.chosen == report.moves[0].move == 0
    assert len(report.ownership or ()) == 81 and len(report.policy or ()) == 82
    assert report.ownership_stdev is None
    worker.front.send(Ping())
    beat = worker.front.wait_for(Heartbeat, lambda beat: beat.visits_total == 20)
    assert (beat.searching, beat.queued) == (0, 0) and beat.rss_bytes > 0
    assert worker.end() == 0


@pytest.mark.parametrize(("manner", "told"), [("human", "rank_3d"), ("", "")])
def test_it_says_whom_the_network_imitates(start: Callable[..., Running], manner: str, told: str) -> None:
    ready = start(manner, human_profile="rank_3d").front.wait_for(EngineReady)
    assert (ready.has_human_sl, ready.human_profile, ready.imitates_anybody) == (bool(told), told, bool(told))
    assert ready.imitates_pairs == bool(told)


def test_values_are_turned_to_whites_side(start: Callable[..., Running]) -> None:
    front = start().front
    front.wait_for(EngineReady)
    front.send(search(1, ownership=True))
    black = front.final(1)
    front.send(search(2, player=WHITE, ownership=True))
    white = front.final(2)
    assert black.root is not None and white.root is not None
    assert (black.root.player, white.root.player) == (BLACK, WHITE)
    assert (black.root.winrate, white.root.winrate) == (0.25, 0.75)
    assert (black.root.score_lead, white.root.score_lead) == (-2.5, 2.5)
    assert (black.moves[0].lcb, white.moves[0].lcb) == (pytest.approx(0.3), 0.7)
    assert (black.moves[0].edge_weight, black.moves[0].edge_visits) == (3.0, 3)
    # JSON tells half of what GTP does.
    assert black.root.raw_st_wr_error == -1.0
    assert (black.ownership or ())[0] == -0.25 and (white.ownership or ())[0] == 0.25


def test_the_network_alone(start: Callable[..., Running]) -> None:
    front = start().front
    front.wait_for(EngineReady)
    front.send(RawRequest(id=3, position=EMPTY, player=BLACK, symmetry=5))
    report = front.wait_for(RawReport)
    assert report.error is None and report.symmetry == 5
    # Black wins 60 % of win plus half of no result; 10 % have none.
    assert (report.white_win, report.white_loss) == (pytest.approx(0.35), pytest.approx(0.55))
    assert report.no_result == 0.1
    assert (report.white_lead, report.white_score_selfplay) == (-1.0, -2.0)
    assert report.white_score_selfplay_sq == pytest.approx(13.0)
    assert len(report.policy) == 82 and len(report.ownership) == 81


def test_reports_come_at_the_client_s_interval_until_it_stops(start: Callable[..., Running]) -> None:
    front = start().front
    front.wait_for(EngineReady)
    front.send(search(4, ENDLESS, report_every_s=0.01, first_report_after_s=0.01))
    for _ in range(3):
        partial = front.wait_for(SearchReport)
        assert not partial.final and partial.chosen is not None
    front.send(StopRequest(id=4))
    assert front.final(4).root is not None


def test_a_search_that_nobody_watches_reports_its_end_alone(start: Callable[..., Running]) -> None:
    front = start().front
    front.wait_for(EngineReady)
    front.send(search(5))
    assert front.wait_for(SearchReport).final


def test_long_searches_leave_room_for_a_short_one(start: Callable[..., Running]) -> None:
    front = start().front
    front.wait_for(EngineReady)
    for number in range(1, 6):
        front.send(search(number, ENDLESS))
    front.send(search(6))
    assert front.final(6).root is not None
    beat = front.wait_for(Heartbeat, lambda beat: beat.queued > 0)
    assert (beat.searching, beat.queued) == (3, 2)
    # One that waits is stopped at once, with nothing; one that runs makes room for the next.
    front.send(StopRequest(id=5))
    assert front.final(5).root is None
    front.send(StopRequest(id=1))
    assert front.final(1).root is not None
    front.wait_for(Heartbeat, lambda beat: (beat.searching, beat.queued) == (3, 0))


def test_the_best_priority_first(start: Callable[..., Running]) -> None:
    front = start().front
    front.wait_for(EngineReady)
    for number in range(1, 4):
        front.send(search(number, ENDLESS))
    front.send(search(4, ENDLESS, priority=1.0))
    front.send(search(5, ENDLESS, priority=2.0))
    front.wait_for(Heartbeat, lambda beat: beat.queued == 2)
    front.send(StopRequest(id=1))
    front.wait_for(Heartbeat, lambda beat: beat.queued == 1)
    front.send(StopRequest(id=4))
    assert front.final(4).root is None, "the other one had gone first"
    front.send(ClearCache())


def test_clients_take_turns(start: Callable[..., Running]) -> None:
    front = start().front
    front.wait_for(EngineReady)
    for number in range(1, 6):
        front.send(search(number, ENDLESS, client="a"))
    front.send(search(6, ENDLESS, client="b"))
    front.wait_for(Heartbeat, lambda beat: (beat.searching, beat.queued) == (3, 3))
    front.send(StopRequest(id=1))
    front.wait_for(Heartbeat, lambda beat: (beat.searching, beat.queued) == (3, 2))
    front.send(StopRequest(id=6))
    assert front.final(6).root is not None, "it ran before the older ones of the other client"


def test_what_is_in_the_background_makes_room_and_goes_on(start: Callable[..., Running]) -> None:
    front = start().front
    front.wait_for(EngineReady)
    pondering = search(1, ENDLESS, client="a", background=True, report_every_s=0.01, first_report_after_s=0.01)
    front.send(pondering)
    assert not front.wait_for(SearchReport).final
    front.send(search(2, ENDLESS, client="b"))
    front.wait_for(Heartbeat, lambda beat: (beat.searching, beat.queued) == (1, 1))
    front.send(search(3, client="b"))
    assert front.final(3).root is not None
    front.send(StopRequest(id=2))
    assert front.final(2).root is not None
    front.wait_for(SearchReport, lambda report: report.id == 1 and not report.final)
    # Stopped while it waits, it ends with what it had found.
    front.send(search(4, ENDLESS, client="b"))
    front.wait_for(Heartbeat, lambda beat: (beat.searching, beat.queued) == (1, 1))
    front.send(StopRequest(id=1))
    assert front.final(1).root is not None


def test_a_game_that_is_over_is_played_on(start: Callable[..., Running]) -> None:
    front = start().front
    front.wait_for(EngineReady)
    over = msgspec.structs.replace(EMPTY, moves=((BLACK, 81), (WHITE, 81)))
    front.send(search(8, position=over))
    assert front.final(8).chosen == 0


def test_what_katago_or_the_rules_refuse_ends_the_request_alone(start: Callable[..., Running]) -> None:
    front = start("refuse").front
    front.wait_for(EngineReady)
    front.send(search(1))
    assert front.final(1).error == "katago refused the query: unknown rules (rules)"
    twice = msgspec.structs.replace(EMPTY, moves=((BLACK, 0), (WHITE, 0)))
    front.send(search(2, position=twice))
    assert "Illegal move 1" in (front.final(2).error or "")
    front.send(search(3, limits=(MoveLimit(BLACK, (1,), 1),)))
    assert front.final(3).error is not None


@pytest.mark.parametrize(
    ("manner", "reason", "fix", "hopeless"),
    [
        ("library", "needs the shared library libnever.so.7", "Install the package that holds libnever.so.7", True),
        ("model", "cannot load the network: .*Z_DATA_ERROR", "agent pull", True),
        ("illegal", "illegal instruction", "Build KataGo on this machine", True),
        ("crash", "ended with status 1; its last words: Uncaught exception: cannot parse", "agent doctor", False),
    ],
)
def test_one_that_does_not_start_says_why(
    start: Callable[..., Running], manner: str, reason: str, fix: str, hopeless: bool
) -> None:
    worker = start(manner)
    failed = worker.front.wait_for(EngineFailed)
    assert failed.reason.startswith("katago does not start: ")
    assert re.search(reason, failed.reason), failed.reason
    assert fix in failed.fix and failed.hopeless is hopeless
    assert worker.end() == 1


@pytest.mark.parametrize(
    ("manner", "reason"),
    [
        ("die", "katago died: it ran out of memory"),
        ("kill", "katago died: it was killed (SIGKILL)"),
        ("garbage", "something else than KataGo's JSON"),
    ],
)
def test_one_that_dies_of_a_position_says_why(start: Callable[..., Running], manner: str, reason: str) -> None:
    worker = start(manner)
    worker.front.wait_for(EngineReady)
    worker.front.send(search(1))
    failed = worker.front.wait_for(EngineFailed)
    assert reason in failed.reason and failed.fix and not failed.hopeless
    assert worker.end() == 1


@pytest.mark.parametrize(
    ("manner", "reason"),
    [("stop", "no answer to anything .* it is stopped"), ("mute", "no answer to anything .* though its process runs")],
)
def test_one_that_hangs_is_told_of_and_killed(start: Callable[..., Running], manner: str, reason: str) -> None:
    worker = start(manner, Patience(silent_s=3.0, ping_s=0.2))
    worker.front.wait_for(EngineReady)
    worker.front.send(search(1))
    failed = worker.front.wait_for(EngineFailed)
    assert re.search(f"katago hangs: {reason}", failed.reason), failed.reason
    assert worker.end() == 1


@pytest.mark.parametrize(
    ("manner", "reason"), [("stopped", "is stopped (SIGSTOP) before it was ready"), ("idle", "computed nothing for")]
)
def test_one_that_hangs_while_it_starts(start: Callable[..., Running], manner: str, reason: str) -> None:
    worker = start(manner, Patience(silent_s=1.0, idle_start_s=4.0, ping_s=0.2))
    failed = worker.front.wait_for(EngineFailed)
    assert reason in failed.reason
    assert worker.end() == 1


def test_nothing_is_left_when_the_front_goes(start: Callable[..., Running], fake_katago: Path, tmp_path: Path) -> None:
    """The fake stands for a wrapper, too: what a script started must end with it."""
    script = tmp_path / "katago"
    script.write_text(f'#!/bin/sh\n{fake_katago} "$@"\nexit 0\n')
    script.chmod(0o755)
    worker = start(program=script)
    worker.front.wait_for(EngineReady)
    worker.front.send(search(1, ENDLESS))
    places = [place for place in Path("/proc").glob("[0-9]*/cmdline") if str(tmp_path) in _read(place)]
    started = [int(place.parent.name) for place in places]
    assert len(started) == 2
    assert worker.end() == 0
    for pid in started:
        wait_until_gone(pid)


def _read(place: Path) -> str:
    try:
        return place.read_text()
    except OSError:
        return ""


def test_a_binary_that_is_none(start: Callable[..., Running], tmp_path: Path) -> None:
    missing = start(program=tmp_path / "none").front.wait_for(EngineFailed)
    assert "none is not there" in missing.reason and "Compiling.md" in missing.fix and missing.hopeless
    text = tmp_path / "text"
    text.write_text("no program")
    refused = start(program=text).front.wait_for(EngineFailed)
    assert "may not be run" in refused.reason and "chmod +x" in refused.fix
    text.chmod(0o755)
    strange = start(program=text).front.wait_for(EngineFailed)
    assert "no program for this processor" in strange.reason


def test_a_katago_killed_from_outside(start: Callable[..., Running]) -> None:
    worker = start()
    worker.front.wait_for(EngineReady)
    places = Path("/proc").glob("[0-9]*/cmdline")
    (pid,) = [int(place.parent.name) for place in places if _is_fake_of(place, os.getpid())]
    os.kill(pid, signal.SIGKILL)
    assert "SIGKILL" in worker.front.wait_for(EngineFailed).reason


def _is_fake_of(cmdline: Path, parent: int) -> bool:
    try:
        fields = (cmdline.parent / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return "native_katago.py" in _read(cmdline) and fields[1] == str(parent)
