"""Live use with a search that searches: what is known of a position is kept over moves, pondering and undo."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fakes.backends import GatedBackend
from fakes.local_engine import LocalEngine, LocalGtp, local_engine
from fakes.opinions import OpinionsBackend

from agent.engine.messages import SearchReport
from agent.engine.points import vertex
from agent.service.options import ServiceOptions

SIZE = 7


@pytest.fixture(scope="module")
def engine() -> Iterator[LocalEngine]:
    with local_engine(OpinionsBackend()) as engine:
        yield engine


def client_of(engine: LocalEngine, **options: object) -> LocalGtp:
    client = LocalGtp(engine, ServiceOptions(max_visits=100, allow_resignation=False, **options))  # type: ignore[arg-type]
    # Nothing is symmetric here: the mirror images of a root's moves are not searched.
    for line in (f"boardsize {SIZE}", "play b C3", "play w E6"):
        client.ask(line)
    return client


def last(client: LocalGtp) -> SearchReport:
    report = client.reports[-1]
    assert isinstance(report, SearchReport) and report.final and report.root is not None and report.stats is not None
    return report


def analyze(client: LocalGtp, visits: int) -> SearchReport:
    """The first report of an analysis; it is stopped when it has so many visits."""
    client.line("kata-analyze 1")
    first = None
    while True:
        report = client.next_report()
        assert isinstance(report, SearchReport) and report.root is not None
        first = first or report
        if report.root.visits >= visits:
            break
    client.ask("stop")
    while client.is_busy:
        client.next_report()
    return first


def test_a_genmove_goes_on_with_what_the_last_one_saw(engine: LocalEngine) -> None:
    client = client_of(engine)
    client.ask("kata-genmove_analyze b 1000")
    move, answer, *_ = last(client).moves[0].pv
    seen = last(client).moves[0].pv_visits[1]
    assert seen > 5 and client.ask(f"play w {vertex(answer, SIZE, SIZE)}") == "= \n\n"
    client.ask("kata-genmove_analyze b 1000")
    stats, root = last(client).stats, last(client).root
    assert stats is not None and root is not None
    assert root.visits == 100 and stats.visits == 100 - seen and move != answer


def test_analysis_goes_on_over_a_move_and_needs_no_network_after_an_undo(engine: LocalEngine) -> None:
    # With noise at the root the second search would look at other moves.
    client = client_of(engine, analysis_wide_root_noise=0.0)
    analyze(client, 200)
    best = last(client).moves[0]
    known = last(client).root
    client.ask(f"play b {vertex(best.move, SIZE, SIZE)}")
    after_move = analyze(client, best.visits + 50)
    assert after_move.root is not None and after_move.root.visits >= best.visits
    client.ask("undo")
    analyze(client, 200)
    stats = last(client).stats
    assert known is not None and stats is not None and stats.visits >= 200
    # It may have searched on for longer than the first one before the stop reached it: those visits are new.
    new = max(0, stats.visits - known.visits)
    assert stats.evaluations < new + stats.visits / 4, "what was evaluated before is found in the cache"


def test_what_was_pondered_counts_for_the_next_move(engine: LocalEngine) -> None:
    client = client_of(engine, pondering_enabled=True, max_visits_pondering=600)
    client.ask("genmove b")
    report = client.next_report()
    assert isinstance(report, SearchReport) and report.final, "pondering reached its bound"
    expected = report.moves[0]
    assert expected.visits > 100
    client.ask(f"play w {vertex(expected.move, SIZE, SIZE)}")
    client.ask("kata-genmove_analyze b 1000")
    move = next(r for r in reversed(client.reports) if isinstance(r, SearchReport) and r.moves and r.chosen is not None)
    assert move.root is not None and move.root.visits >= expected.visits and move.stats is not None
    assert move.stats.visits <= 1, "the move was ready"


def test_an_analysis_ends_at_once_while_the_network_is_busy() -> None:
    backend = GatedBackend()
    with local_engine(backend) as engine:
        client = client_of(engine)
        client.line("kata-analyze 1")
        backend.let(10)
        client.next_report()
        assert backend.wait_entered(11)
        # Nothing comes out of the network from here on, and the next command is answered.
        assert client.line("1 name") == b"\n=1 KataGo\n\n"
        assert client.line("2 play b D4") == b"=2 \n\n"
        assert client.line("3 genmove w") == b""
        backend.open()
        while client.is_busy:
            client.next_report()
        assert client.output.endswith(b"\n\n") and client.output.count(b"=3 ") == 1
