"""GTP commands that need the engine: genmove, analysis, raw network, score."""

from __future__ import annotations

import json

import msgspec
import pytest
from fakes.driving import Driver, gtp
from fakes.engine import answer, move_info, root_info

from agent.engine.messages import MoveLimit, RawReport, RawRequest, SearchReport, SearchRequest, SearchStats
from agent.engine.points import BLACK, WHITE
from agent.service.options import MAX_VISITS, ServiceOptions, read_settings

B_INFO = (
    "info move A19 visits 9 edgeVisits 8 utility -0.25 winrate 0.4 scoreMean -1.5 scoreStdev 20.1235 scoreLead -1.5"
    " scoreSelfplay -2.25 prior 0.3 lcb 0.45 utilityLcb -0.125 weight 9 order 0 pv A19 pass info move pass visits 1"
    " edgeVisits 1 utility -0.25 winrate 0.4 scoreMean -1.5 scoreStdev 20.1235 scoreLead -1.5 scoreSelfplay -2.25"
    " prior 0.1 lcb 0.45 utilityLcb -0.125 weight 9 order 1 pv pass"
)


def last_search(client: Driver) -> SearchRequest:
    request = client.engine.submitted[-1]
    assert isinstance(request, SearchRequest)
    return request


# ---------------------------------------------------------------- genmove


def test_genmove_plays_what_the_engine_chose() -> None:
    client = gtp()
    assert client.line("5 genmove b") == b""
    assert client.release() == b"=5 A19\n\n"
    assert client.line("play w A19") == b"? illegal move\n\n"
    assert client.ask("genmove w") == b"= B19\n\n"
    assert last_search(client).position.moves == ((BLACK, 0),)


def test_genmove_asks_for_the_given_side_whoevers_turn_it_is() -> None:
    client = gtp()
    client.ask("genmove w")
    assert last_search(client).player == WHITE


def test_commands_wait_for_a_genmove_in_order() -> None:
    client = gtp()
    client.line("1 genmove b")
    assert client.line("2 name") + client.line("3 genmove w") + client.line("4 protocol_version") == b""
    assert client.release() == b"=1 A19\n\n=2 KataGo\n\n"
    assert client.release() == b"=3 B19\n\n=4 2\n\n"


def test_searches_for_moves_share_a_tree_and_analysis_has_its_own() -> None:
    client = gtp()
    client.ask("genmove b")
    first = last_search(client).tree
    client.ask("genmove w")
    assert last_search(client).tree == first != ""
    client.line("kata-analyze 10")
    assert last_search(client).tree not in ("", first)
    assert gtp(engine=client.engine).connection is not None


def test_time_settings_bound_the_move() -> None:
    client = gtp(ServiceOptions(max_visits=77))
    client.ask("genmove b")
    assert last_search(client).max_time_s is None
    client.line("time_settings 0 10 1")
    client.ask("genmove w")
    assert last_search(client).max_visits == 77
    assert last_search(client).max_time_s == pytest.approx(8.0), "twice the lag before a loss on time"


def test_playouts_are_those_of_the_move_and_visits_those_of_the_tree() -> None:
    client = gtp(ServiceOptions(max_visits=77))
    client.line("kata-set-params " + json.dumps({"maxPlayouts": 30, "searchFactorAfterOnePass": 0.5}))
    client.ask("genmove b")
    assert (last_search(client).max_visits, last_search(client).max_playouts) == (MAX_VISITS, 30)
    client.line("play w pass")
    client.ask("genmove b")
    assert last_search(client).max_playouts == 15
    client.line("kata-analyze 10")
    assert last_search(client).max_playouts is None


def test_an_engine_that_cannot_answer_is_an_error_and_the_next_command_serves() -> None:
    client = gtp()
    client.line("8 genmove b")
    assert client.report(SearchReport(id=last_search(client).id, final=True, error="worker\nis gone")) == (
        b"?8 worker is gone\n\n"
    )
    assert client.line("undo") == b"? cannot undo\n\n"


def test_no_move_is_katagos_error() -> None:
    client = gtp()
    client.line("genmove b")
    report = msgspec.structs.replace(answer(last_search(client)), chosen=None)
    assert client.report(report) == b"? genmove returned null location or illegal move\n\n"


def test_the_end_of_input_lets_a_genmove_finish() -> None:
    client = gtp()
    client.line("genmove b")
    client.line("name")
    assert client.end() == b""
    assert client.release() == b"= A19\n\n= KataGo\n\n"
    assert client.is_closed


def test_kata_search_does_not_play() -> None:
    client = gtp()
    assert client.ask("kata-search b") == b"= A19\n\n"
    assert client.line("play w A19") == b"= \n\n"


def losing(request: SearchRequest, winrate: float = 0.99) -> SearchReport:
    report = answer(request)
    assert isinstance(report, SearchReport)
    root = root_info(request.player, winrate=winrate, score_lead=40.0)
    stats = SearchStats(visits=10, evaluations=10, cache_hits=0, terminal=0, duration_s=1.5)
    return msgspec.structs.replace(report, root=root, stats=stats)


def moves_of_a_losing_black(client: Driver, count: int) -> list[bytes]:
    replies = []
    for _ in range(count):
        client.line("genmove b")
        replies.append(client.report(losing(last_search(client))))
        client.line("play w pass")
    return replies


def test_resigns_after_three_hopeless_turns() -> None:
    client = gtp()
    assert moves_of_a_losing_black(client, 3) == [b"= A19\n\n", b"= B19\n\n", b"= resign\n\n"]
    assert client.line("cputime") == b"= 4.5\n\n"


def test_does_not_resign_when_told_so() -> None:
    client = gtp()
    client.line("kata-set-param allowResignation false")
    assert b"resign" not in b"".join(moves_of_a_losing_black(client, 5))


def test_passing_under_tromp_taylor_takes_dead_stones_off_first() -> None:
    # White owns the whole board by two eyes at A1 and C1; a black stone at A3 is dead and would count.
    client = gtp()
    for line in ["boardsize 3", "set_position w A2 w B2 w C2 w B1 b A3"]:
        assert client.line(line) == b"= \n\n"
    client.line("genmove w")
    report = msgspec.structs.replace(answer(last_search(client)), chosen=9)
    assert client.report(report) == b"= B3\n\n"
    client.line("undo")
    client.line("kata-set-rules chinese")
    client.line("genmove w")
    report = msgspec.structs.replace(answer(last_search(client)), chosen=9)
    assert client.report(report) == b"= pass\n\n"


# ---------------------------------------------------------------- analysis


def test_kata_analyze_streams_and_the_next_line_ends_it() -> None:
    client = gtp()
    assert client.line("7 kata-analyze B 10") == b"=7\n"
    assert last_search(client).report_every_s == pytest.approx(0.1)
    assert client.release(final=False) == B_INFO.encode() + b"\n"
    assert client.release(final=False) == B_INFO.encode() + b"\n"
    assert client.line("8 name") == b"\n=8 KataGo\n\n"
    assert client.engine.stopped == [last_search(client).id]
    assert not client.engine.waiting


def test_an_empty_line_ends_analysis() -> None:
    client = gtp()
    client.line("lz-analyze 10")
    assert client.line("") == b"\n"
    assert client.line("") == b""


def test_analysis_that_reached_its_limit_stays_open_until_the_next_line() -> None:
    client = gtp()
    client.line("kata-analyze b 10")
    assert client.release() == B_INFO.encode() + b"\n"
    assert client.line("name") == b"\n= KataGo\n\n"
    assert client.engine.stopped == []
    assert client.line("genmove b") == b""
    assert client.release() == b"= A19\n\n"


def test_a_search_waits_for_a_stopped_one_to_end() -> None:
    client = gtp()
    client.engine.ignores_stops = True
    client.line("kata-analyze b 10")
    first = last_search(client).id
    assert client.line("genmove b") == b"\n"
    assert [request.id for request in client.engine.submitted] == [first]
    client.engine.release(first)
    assert len(client.engine.submitted) == 2
    assert client.release() == b"= A19\n\n"


def test_an_analysis_that_never_began_is_not_stopped() -> None:
    client = gtp()
    client.engine.ignores_stops = True
    client.line("kata-analyze b 10")
    first = last_search(client).id
    assert client.line("kata-analyze w 10") == b"\n=\n"
    assert client.line("name") == b"\n= KataGo\n\n"
    client.engine.release(first)
    assert [request.id for request in client.engine.submitted] == [first]
    assert client.engine.stopped == [first]


def test_late_reports_of_a_stopped_analysis_are_dropped() -> None:
    client = gtp()
    client.engine.ignores_stops = True
    client.line("kata-analyze b 10")
    client.line("name")
    assert client.release(final=False) == b""
    assert client.release() == b""


def test_lz_analyze() -> None:
    client = gtp()
    client.line("lz-analyze interval 10")
    assert client.release(final=False) == (
        b"info move A19 visits 9 winrate 4000 prior 3000 lcb 4500 order 0 pv A19 pass"
        b" info move pass visits 1 winrate 4000 prior 1000 lcb 4500 order 1 pv pass\n"
    )


def test_kata_analyze_with_everything() -> None:
    client = gtp()
    client.line("boardsize 2")
    client.line(
        "kata-analyze w 50 rootInfo true ownership true ownershipStdev true movesOwnership true pvVisits true"
        " pvEdgeVisits true noResultValue true maxmoves 1 minmoves 3"
    )
    request = last_search(client)
    assert (request.ownership, request.ownership_stdev, request.moves_ownership) == (True, True, True)
    assert client.release(final=False) == (
        b"info move A2 visits 9 edgeVisits 8 utility 0.25 winrate 0.6 scoreMean 1.5 scoreStdev 20.1235 scoreLead 1.5"
        b" scoreSelfplay 2.25 noResultValue 0 prior 0.3 lcb 0.55 utilityLcb 0.125 weight 9 order 0 pv A2 pass"
        b" pvVisits 9 9 pvEdgeVisits 8 8 movesOwnership 0.25 0.25 0.25 0.25"
        b" rootInfo visits 10 utility 0.25 winrate 0.6 scoreMean 1.5 scoreStdev 20.1235 scoreLead 1.5"
        b" scoreSelfplay 2.25 weight 10 rawStWrError -1 rawStScoreError -1 rawVarTimeLeft -1"
        b" ownership 0.5 0.5 0.5 0.5 ownershipStdev 0.125 0.125 0.125 0.125\n"
    )


@pytest.mark.parametrize("command", ["kata-analyze", "kata-genmove_analyze", "kata-search_analyze"])
def test_moves_that_were_not_looked_at_fill_up(command: str) -> None:
    client = gtp()
    client.line("boardsize 2")
    client.line(f"{command} b 50 minmoves 4 movesOwnership true")
    request = last_search(client)
    assert (request.policy, request.ownership, request.moves_ownership_stdev) == (True, True, False)
    line = client.release(final=False).decode()
    assert line.count("info move") == 4 and line.count("\n") == 1
    assert (
        "info move A1 visits 0 edgeVisits 0 utility -0.229246 winrate 0.410377 scoreMean -1.5 scoreStdev 20.1235"
        " scoreLead -1.5 scoreSelfplay -2.25 prior 0.2 lcb 0.410377 utilityLcb -0 weight 0 order 3 pv A1"
        " movesOwnership -0.5 -0.5 -0.5 -0.5\n"
    ) in line
    # Nobody asked for it of the position itself.
    assert " ownership " not in line


def test_lz_analyze_fills_up_and_cuts_off() -> None:
    client = gtp()
    client.line("boardsize 2")
    client.line("lz-analyze w 50 minmoves 4 maxmoves 3")
    assert client.release(final=False).endswith(
        b" info move B1 visits 0 winrate 5264 prior 2000 lcb 5264 order 2 pv B1\n"
    )


def test_ownership_is_turned_to_the_side_to_move() -> None:
    client = gtp()
    client.line("boardsize 2")
    client.line("kata-analyze b 50 ownership true movesOwnership true")
    line = client.release(final=False)
    assert b" movesOwnership -0.25 -0.25 -0.25 -0.25 " in line
    assert line.endswith(b" ownership -0.5 -0.5 -0.5 -0.5\n")


@pytest.mark.parametrize(("perspective", "winrate"), [("SIDETOMOVE", "0.4"), ("BLACK", "0.4"), ("WHITE", "0.6")])
def test_perspective(perspective: str, winrate: str) -> None:
    options, _ = read_settings(ServiceOptions(), {"reportAnalysisWinratesAs": perspective})
    client = gtp(options)
    client.line("kata-analyze b 10")
    assert f" winrate {winrate} ".encode() in client.release(final=False)


def test_symmetry_is_named() -> None:
    client = gtp()
    client.line("kata-analyze b 10")
    report = answer(last_search(client), final=False)
    assert isinstance(report, SearchReport)
    assert b" weight 9 isSymmetryOf B19 order 0 " in client.report(
        msgspec.structs.replace(report, moves=(move_info(0, symmetry_of=1),))
    )


def test_avoid_and_allow() -> None:
    client = gtp()
    client.line("kata-analyze b 10 avoid b A19,pass 3 avoid w C3 1")
    assert last_search(client).limits == (
        MoveLimit(player=BLACK, points=(0, 361), until_depth=3),
        MoveLimit(player=WHITE, points=(16 * 19 + 2,), until_depth=1),
    )
    client.line("kata-analyze b 10 avoid b A19,A19,B19 8 avoid b A19 1 " + "avoid w pass 2 " * 1000)
    assert last_search(client).limits == (
        MoveLimit(player=BLACK, points=(0,), until_depth=1),
        MoveLimit(player=BLACK, points=(1,), until_depth=8),
        MoveLimit(player=WHITE, points=(361,), until_depth=2),
    )
    client.line("lz-analyze 10 allow b A19 1")
    assert last_search(client).limits == (MoveLimit(player=BLACK, points=(0,), until_depth=1, allow=True),)


@pytest.mark.parametrize(
    "arguments",
    [
        "avoid b A19",
        "avoid b Z99 1",
        "avoid x A19 1",
        "avoid b A19 0",
        "avoid b A19 1 allow b B19 1",
        "allow b A19 1 allow b B19 1",
        "maxmoves -1",
        "interval x",
        "ownership maybe",
        "-5",
    ],
)
def test_bad_analyze_arguments(arguments: str) -> None:
    text = f"? Could not parse analyze arguments or arguments out of range: 'b 10 {arguments}'\n\n"
    assert gtp().line(f"kata-analyze b 10 {arguments}").decode() == text


def test_lz_analyze_takes_no_kata_keys() -> None:
    assert gtp().line("lz-analyze b 10 ownership true").startswith(b"? Could not parse analyze arguments")


def test_genmove_analyze_ends_with_the_move() -> None:
    client = gtp()
    assert client.line("7 kata-genmove_analyze b 10 rootInfo true") == b"=7\n"
    assert client.line("8 name") == b""
    partial = client.release(final=False)
    assert partial.startswith(b"info move A19 ") and b" rootInfo visits 10 " in partial
    assert client.release() == partial + b"play A19\n\n=8 KataGo\n\n"
    assert client.line("play w A19") == b"? illegal move\n\n"


def test_lz_genmove_analyze_and_kata_search_analyze() -> None:
    client = gtp()
    assert client.ask("lz-genmove_analyze b interval 10").endswith(b"order 1 pv pass\nplay A19\n\n")
    assert client.ask("kata-search_analyze w").endswith(b"pv pass\nplay B19\n\n")
    assert client.line("play w B19") == b"= \n\n"


def test_genmove_analyze_that_fails_ends_its_reply() -> None:
    client = gtp()
    client.line("kata-genmove_analyze b 10")
    assert client.report(SearchReport(id=last_search(client).id, final=True, error="gone")) == b"\n"


def test_end_of_input_ends_analysis() -> None:
    client = gtp()
    client.line("kata-analyze 10")
    assert client.end() == b"\n"
    assert client.is_closed


# ---------------------------------------------------------------- the network alone


def test_raw_nn_character_by_character() -> None:
    """The block that native KataGo printed for b15c192 after `play b C3` on 5×5 under Chinese rules."""
    native = """= symmetry 0
whiteWin 0.000009
whiteLoss 0.999991
noResult 0.000000
whiteLead -11.968
whiteScoreSelfplay -11.336
whiteScoreSelfplaySq 130.601
varTimeLeft -1.000
shorttermWinlossError -1.000
shorttermScoreError -1.000
policy
0.024960 0.013916 0.005293 0.028256 0.026467 |
0.022959 0.040026 0.094138 0.039835 0.049424 |
0.016954 0.030311     NAN 0.056732 0.010553 |
0.025992 0.003894 0.001177 0.006166 0.055906 |
0.061733 0.097320 0.075980 0.118052 0.038125 |
policyPass 0.055835 |
whiteOwnership
-0.9475330 -0.9710488 -0.9829687 -0.9736001 -0.8974292 |
-0.9508552 -0.9811184 -0.9744285 -0.9812538 -0.9220481 |
-0.9600023 -0.9879878 -0.9991603 -0.9792184 -0.9629108 |
-0.9572867 -0.9907871 -0.9960179 -0.9913401 -0.9359621 |
-0.9394849 -0.9527755 -0.9403973 -0.9307171 -0.9175434

""".replace("|", "")
    numbers = [part for line in native.splitlines()[11:16] for part in line.split()]
    ownership = [part for line in native.splitlines()[18:23] for part in line.split()]
    client = gtp()
    for line in ["boardsize 5", "kata-set-rules chinese", "play b C3"]:
        client.line(line)
    client.line("kata-raw-nn 0")
    request = client.engine.submitted[-1]
    assert isinstance(request, RawRequest)
    assert (request.player, request.symmetry, request.optimism) == (WHITE, 0, 0.2)
    report = RawReport(
        id=request.id,
        white_win=0.0000091,
        white_loss=0.9999909,
        white_lead=-11.9681,
        white_score_selfplay=-11.3358,
        white_score_selfplay_sq=130.6011,
        policy=(*(-1.0 if text == "NAN" else float(text) for text in numbers), 0.055835),
        ownership=tuple(map(float, ownership)),
    )
    assert client.report(report).decode() == native


def test_raw_nn_asks_for_every_symmetry_the_side_and_the_optimism() -> None:
    client = gtp()
    reply = client.ask("kata-raw-nn w all 1").decode()
    requests = client.engine.submitted
    assert [request.symmetry for request in requests if isinstance(request, RawRequest)] == list(range(8))
    assert {request.player for request in requests} == {WHITE}
    assert {request.optimism for request in requests if isinstance(request, RawRequest)} == {1.0}
    assert reply.count("symmetry ") == 8


@pytest.mark.parametrize(
    ("line", "whose", "advantage"),
    [
        ("kata-raw-nn 0", "", 1.5),
        ("kata-raw-nn w 0", "", 1.5),
        ("kata-raw-nn 0", "W", -1.5),
        ("kata-raw-nn w 0", "W", 1.5),
        ("place_free_handicap 2", "", 0.0),
    ],
)
def test_raw_nn_knows_the_advantage_that_was_set(line: str, whose: str, advantage: float) -> None:
    client = gtp()
    client.line("kata-set-param playoutDoublingAdvantage 1.5")
    client.line(f"kata-set-param playoutDoublingAdvantagePla {whose}")
    client.line(line)
    (request,) = client.engine.submitted
    assert isinstance(request, RawRequest) and request.advantage == advantage


def test_raw_nn_turns_no_rectangle_on_its_side() -> None:
    client = gtp()
    client.line("boardsize 5 7")
    assert client.ask("kata-raw-nn 6").startswith(b"= symmetry 6\n")
    request = client.engine.submitted[-1]
    assert isinstance(request, RawRequest) and request.symmetry == 2


def test_raw_nn_failure() -> None:
    client = gtp()
    client.line("kata-raw-nn 0")
    assert client.report(RawReport(id=client.engine.submitted[-1].id, error="gone")) == b"? gone\n\n"


def policy_of(report: RawReport, points: dict[int, float]) -> RawReport:
    policy = [points.get(point, 0.0) if chance >= 0 else -1.0 for point, chance in enumerate(report.policy)]
    return msgspec.structs.replace(report, policy=tuple(policy))


def test_place_free_handicap_follows_the_policy() -> None:
    client = gtp()
    client.line("boardsize 9")
    client.line("place_free_handicap 3")
    reply = b""
    for best in (20, 24, 60):
        answered = answer(client.engine.submitted[-1])
        assert isinstance(answered, RawReport)
        # Whatever is ten times less likely is taken once in ten thousand times at this temperature.
        reply = client.report(policy_of(answered, {20: 1e-4, 24: 1e-4, 60: 1e-4, best: 1.0}))
    assert reply == b"= C7 G7 G3\n\n"
    assert client.ask("genmove w") == b"= A9\n\n"
    assert last_search(client).position.initial_player == WHITE
    assert client.line("place_free_handicap 3") == b"? Board is not empty\n\n"


def test_free_handicap_goes_elsewhere_with_another_seed_and_stops_where_no_move_is_left() -> None:
    replies = set()
    for seed in range(8):
        client = gtp(seed=seed)
        client.line("boardsize 9")
        replies.add(client.ask("place_free_handicap 4"))
        assert len(client.engine.submitted) == 4
    assert len(replies) > 4
    client.line("clear_board")
    client.line("place_free_handicap 4")
    answered = answer(client.engine.submitted[-1])
    assert isinstance(answered, RawReport)
    assert client.report(policy_of(answered, {81: 1.0})) == b"= \n\n"


def test_free_handicap_that_fails_leaves_an_empty_board() -> None:
    client = gtp()
    client.line("place_free_handicap 2")
    client.release()
    assert client.report(RawReport(id=client.engine.submitted[-1].id, error="gone")) == b"? gone\n\n"
    assert client.line("fixed_handicap 2") == b"= Q16 D4\n\n"


# ---------------------------------------------------------------- speed


def test_benchmark_searches_ten_positions_of_a_game_without_cached_answers() -> None:
    client = gtp()
    client.line("boardsize 9")
    assert client.line("3 kata-benchmark 40") == b""
    reply = b""
    while client.engine.waiting:
        request = last_search(client)
        assert (request.max_visits, request.tree) == (40, "")
        assert client.engine.cleared == len(client.engine.submitted)
        report = answer(request)
        assert isinstance(report, SearchReport)
        stats = SearchStats(visits=40, evaluations=30, cache_hits=0, terminal=10, duration_s=0.5)
        reply = client.report(msgspec.structs.replace(report, stats=stats))
    assert reply == (b"=3\nnumSearchThreads =  2: 10 / 10 positions, visits/s = 80.00 nnEvals/s = 60.00 (5.0 secs)\n\n")
    positions = [request.position.moves for request in client.engine.submitted]
    assert len(set(positions)) == 10 and not client.line("undo").startswith(b"=")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ("", "Expected one argument for kata-benchmark but got ''"),
        ("1 2", "Expected one argument for kata-benchmark but got '1 2'"),
        ("x", "Could not parse number of visits: x"),
        ("-5", "Could not parse number of visits: -5"),
    ],
)
def test_bad_benchmarks(arguments: str, text: str) -> None:
    assert gtp().line(f"kata-benchmark {arguments}").decode() == f"? {text}\n\n"


def test_a_benchmark_that_fails_says_so() -> None:
    client = gtp()
    client.line("kata-benchmark 5")
    assert client.report(SearchReport(id=last_search(client).id, final=True, error="gone")) == b"? gone\n\n"
