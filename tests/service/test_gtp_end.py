"""GTP at the end of a game: score, status of stones, passing."""

from __future__ import annotations

import math
from collections.abc import Callable

import msgspec
import pytest
from fakes.driving import Driver, gtp
from fakes.engine import FakeEngine, answer, root_info
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.engine.messages import SearchReport, SearchRequest
from agent.engine.points import BLACK, WHITE
from agent.service.clock import overtime
from agent.service.options import MAX_VISITS, ServiceOptions

Opinion = Callable[[SearchRequest], SearchReport]


def ask(client: Driver, line: str, opinion: Opinion) -> str:
    """Give a line and answer every search that it asks for."""
    before = len(client.output)
    client.line(line)
    while client.engine.waiting:
        request, _ = next(iter(client.engine.waiting.values()))
        assert isinstance(request, SearchRequest)
        client.report(opinion(request))
    return client.output[before:].decode()


def report_of(request: SearchRequest, *, ownership: tuple[float, ...] | None = None, **root: object) -> SearchReport:
    found = answer(request)
    assert isinstance(found, SearchReport)
    found = msgspec.structs.replace(found, root=root_info(request.player, **root))
    return msgspec.structs.replace(found, ownership=ownership) if ownership and request.ownership else found


# ---------------------------------------------------------------- score


def even_at(komi: float, *, steepness: float = 1.0, steps: bool = False, lead_error: float = 0.0) -> Opinion:
    """Who wins is decided by the komi; with `steps`, area scores come two points apart, as on a full board."""

    def opinion(request: SearchRequest) -> SearchReport:
        margin = request.position.komi - komi
        if steps:
            margin = 2.0 * math.floor(margin / 2.0 + 0.5)
        winrate = 0.5 + 0.5 * math.tanh(margin * steepness)
        return report_of(request, winrate=winrate, score_lead=request.position.komi - komi + lead_error)

    return opinion


def test_final_score_of_a_counted_game_needs_no_engine() -> None:
    client = gtp()
    for line in ["boardsize 5", "komi 0.5", "play b C3", "play w pass", "play b pass"]:
        client.line(line)
    assert client.line("final_score") == b"= B+24.5\n\n"
    assert client.line("final_status_list alive") == b"= C3\n\n"
    assert client.line("final_status_list dead") == b"= \n\n"
    assert not client.engine.submitted


@pytest.mark.parametrize(
    ("komi", "even", "reply"),
    [
        ("7.5", 6.0, "W+1.5"),
        ("7.5", 9.0, "B+1.5"),
        ("7.5", 7.2, "W+0.5"),
        ("7", 5.8, "W+1.0"),
        ("7", 7.2, "0"),
        ("7", 9.0, "B+2.0"),
        ("-80", 100.0, "B+180.0"),
        ("0.5", -60.0, "W+60.5"),
    ],
)
@pytest.mark.parametrize("rules", ["tromp-taylor", "japanese"])
def test_final_score_of_an_open_game_is_what_the_komi_is_off(komi: str, even: float, reply: str, rules: str) -> None:
    client = gtp()
    client.line(f"komi {komi}")
    client.line(f"kata-set-rules {rules}")
    assert ask(client, "final_score", even_at(even)) == f"= {reply}\n\n"
    searches = [request for request in client.engine.submitted if isinstance(request, SearchRequest)]
    assert {request.max_visits for request in searches} == {50}
    assert {request.tree for request in searches} == {""}
    assert len({request.position.komi for request in searches}) == len(searches) <= 14, "no komi is searched twice"
    assert client.line("get_komi").decode() == f"= {komi}\n\n"


@settings(max_examples=60, deadline=None)
@given(
    st.integers(-100, 100).map(lambda halves: halves / 2),
    st.integers(-60, 60),
    st.floats(0.05, 3),
    st.floats(-12, 12),
)
def test_the_winner_decides_and_not_the_predicted_lead(
    komi: float, even: int, steepness: float, lead_error: float
) -> None:
    client = gtp()
    client.line(f"komi {komi}")
    client.line("kata-set-rules japanese")
    reply = ask(client, "final_score", even_at(even, steepness=steepness, lead_error=lead_error))
    lead = komi - even
    assert reply == ("= 0\n\n" if not lead else f"= {'W' if lead > 0 else 'B'}+{abs(lead):.1f}\n\n")


def test_area_scores_in_steps_of_two_are_smoothed() -> None:
    client = gtp()
    client.line("komi 7.5")
    assert ask(client, "final_score", even_at(10.0, steps=True)) in ("= B+2.5\n\n", "= B+1.5\n\n")


def test_a_front_without_a_worker_still_answers() -> None:
    client = gtp(engine=FakeEngine(ready=None))
    assert client.line("kata-get-models") == b"= []\n\n"
    assert client.line("version").startswith(b"= 1.17.2+katago-agent-")
    assert ask(client, "final_score", even_at(6.0)) == "= W+1.5\n\n"


def test_an_engine_that_fails_half_way_is_told() -> None:
    client = gtp()
    client.line("3 final_score")
    client.release()
    gone = SearchReport(id=client.engine.submitted[-1].id, final=True, error="gone")
    assert client.report(gone) == b"?3 gone\n\n"
    assert client.line("get_komi") == b"= 7.5\n\n"


# ---------------------------------------------------------------- status


def test_final_status_list_asks_who_owns_the_chains() -> None:
    # The fake gives everything to White by half: the white chain lives, the black stone is dead.
    for status, points in [("alive", "E4 D3 E3"), ("dead", "A1"), ("seki", "")]:
        client = gtp()
        for line in ["boardsize 5", "play b A1", "play w E3", "play b pass", "play w D3", "play b pass", "play w E4"]:
            client.line(line)
        assert client.ask(f"final_status_list {status}").decode() == f"= {points}\n\n"


def test_a_chain_dies_of_one_lost_point() -> None:
    client = gtp()
    for line in ["boardsize 3", "set_position w A1 w B1 b C3"]:
        client.line(line)
    # Row by row from the top: the black stone on C3, the white ones on A1 and B1.
    owned = (0.0, 0.0, -0.3, 0.0, 0.0, 0.0, 0.9, -0.65, 0.0)
    assert ask(client, "final_status_list dead", lambda r: report_of(r, ownership=owned)) == "= A1 B1\n\n"
    owned = (0.0, 0.0, -0.1, 0.0, 0.0, 0.0, 0.9, -0.4, 0.0)
    assert ask(client, "final_status_list dead", lambda r: report_of(r, ownership=owned)) == "= C3\n\n"


# ---------------------------------------------------------------- passing


def test_passing_under_tromp_taylor_takes_dead_stones_off_first() -> None:
    # White owns the whole board by two eyes at A1 and C1; a black stone at A3 is dead and would count.
    client = gtp()
    for line in ["boardsize 3", "set_position w A2 w B2 w C2 w B1 b A3"]:
        assert client.line(line) == b"= \n\n"
    client.line("genmove w")
    assert move_of(client, 9) == "= B3\n\n"
    client.line("undo")
    client.line("kata-set-rules chinese")
    client.line("genmove w")
    assert move_of(client, 9) == "= pass\n\n"


@pytest.mark.parametrize(
    ("options", "rules", "reply"),
    [
        (ServiceOptions(cleanup_before_pass=False), "tromp-taylor", "pass"),
        (ServiceOptions(friendly_pass=True), "tromp-taylor", "pass"),
        (ServiceOptions(cleanup_before_pass=True), "chinese", "B3"),
        (ServiceOptions(cleanup_before_pass=True), "japanese", "pass"),
    ],
)
def test_settings_decide_before_the_rules(options: ServiceOptions, rules: str, reply: str) -> None:
    client = gtp(options)
    for line in ["boardsize 3", f"kata-set-rules {rules}", "set_position w A2 w B2 w C2 w B1 b A3"]:
        assert client.line(line) == b"= \n\n"
    client.line("genmove w")
    assert move_of(client, 9) == f"= {reply}\n\n"


def move_of(client: Driver, chosen: int) -> str:
    request = client.engine.submitted[-1]
    assert isinstance(request, SearchRequest)
    return client.report(msgspec.structs.replace(report_of(request), chosen=chosen)).decode()


# Black holds the left, White the right, the border is closed; B5 (point 1) is Black's own area.
CLOSED = "b B1 b B2 b B3 b B4 b B5 w C1 w C2 w C3 w C4 w C5"
OWNERS = (-1.0, -1.0, 1.0, 1.0, 1.0) * 5


def closed_game(stones: str, options: ServiceOptions | None = None, rules: str = "chinese") -> Driver:
    client = gtp(options)
    for line in ["boardsize 5", f"kata-set-rules {rules}", f"set_position {stones}", "play w pass"]:
        assert client.line(line) == b"= \n\n", line
    return client


def genmove(client: Driver, owners: tuple[float, ...] = OWNERS, chosen: int = 0, gain: float = 0.0) -> str:
    """Black's genmove; the move is worth `gain` points (Black's) more than a pass."""

    def opinion(request: SearchRequest) -> SearchReport:
        moved = request.position.moves[-1:] == ((BLACK, chosen),)
        lead = -1.0 - (gain if moved else 0.0)
        report = report_of(request, ownership=owners, score_lead=lead, score_selfplay=lead, utility=lead / 10)
        return msgspec.structs.replace(report, chosen=chosen)

    return ask(client, "genmove b", opinion)


def test_a_friendly_pass_ends_a_game_with_nothing_left() -> None:
    client = closed_game(CLOSED)
    assert genmove(client) == "= pass\n\n"
    searches = [request for request in client.engine.submitted if isinstance(request, SearchRequest)]
    assert [request.max_visits for request in searches] == [500, 58, 58, 58]
    assert [request.player for request in searches] == [BLACK, BLACK, WHITE, WHITE]
    assert client.line("undo") == b"= \n\n", "it was played"


@pytest.mark.parametrize(
    ("options", "visits", "time_s"),
    [
        (ServiceOptions(max_visits=MAX_VISITS, max_playouts=300), 38, None),
        (ServiceOptions(max_visits=MAX_VISITS, max_time_s=8.0), 1008, 8.0),
        (ServiceOptions(max_visits=MAX_VISITS, clock=overtime(0.0, 5.0, 5, 1), lag_buffer_s=0.0), 1008, 5.0),
    ],
)
def test_a_friendly_pass_costs_a_tenth_of_a_move_and_no_more_time_than_one(
    options: ServiceOptions, visits: int, time_s: float | None
) -> None:
    client = closed_game(CLOSED, options)
    assert genmove(client) == "= pass\n\n"
    _, *searches = (request for request in client.engine.submitted if isinstance(request, SearchRequest))
    assert {(request.max_visits, request.max_time_s) for request in searches} == {(visits, time_s)}


def test_no_friendly_pass_while_a_point_can_be_gained() -> None:
    assert genmove(closed_game(CLOSED), gain=0.5) == "= A5\n\n"


def test_no_friendly_pass_while_a_border_is_open() -> None:
    assert genmove(closed_game(CLOSED.replace(" b B3", ""))) == "= A5\n\n"


def test_dead_stones_do_not_hold_a_friendly_pass_back() -> None:
    assert genmove(closed_game(CLOSED + " w A1")) == "= pass\n\n"


def test_no_friendly_pass_instead_of_an_urgent_move() -> None:
    # A move beside a living white stone is no mere filling of one's own area.
    assert genmove(closed_game(CLOSED.replace("w C3", "w D3")), chosen=12) == "= C3\n\n"


@pytest.mark.parametrize("rules", ["tromp-taylor", "japanese", "aga-button"])
def test_no_friendly_pass_under_other_rules(rules: str) -> None:
    client = closed_game(CLOSED, rules=rules)
    assert genmove(client) == "= A5\n\n"
    assert len(client.engine.submitted) == 1


@pytest.mark.parametrize(
    ("options", "rules", "reply"),
    [
        (ServiceOptions(friendly_pass=False), "chinese", "A5"),
        (ServiceOptions(cleanup_before_pass=True), "chinese", "A5"),
        (ServiceOptions(friendly_pass=True), "tromp-taylor", "pass"),
    ],
)
def test_friendly_pass_as_told(options: ServiceOptions, rules: str, reply: str) -> None:
    assert genmove(closed_game(CLOSED, options, rules)) == f"= {reply}\n\n"


def test_no_friendly_pass_before_the_opponent_passed() -> None:
    client = gtp()
    for line in ["boardsize 5", "kata-set-rules chinese", f"set_position {CLOSED}"]:
        client.line(line)
    assert genmove(client) == "= A5\n\n"
