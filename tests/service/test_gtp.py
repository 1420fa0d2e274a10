"""GTP commands that are answered at once: replies and error texts as native KataGo 1.17.2 gives them."""

from __future__ import annotations

import json

import msgspec
import pytest
from fakes.driving import gtp
from fakes.engine import READY

from agent import __version__
from agent.service.gtp import MAX_WAITING_BYTES, MAX_WAITING_COMMANDS
from agent.service.options import MAX_MOVES, MAX_VISITS, ServiceOptions

ON_9X9 = ["boardsize 9", "komi 6.5"]

# Commands, then the reply to the last of them. Recorded from native KataGo, but where a comment says otherwise.
RECORDED = [
    (["name"], "= KataGo\n\n"),
    (["1 protocol_version"], "=1 2\n\n"),
    (["protocol_version"], "= 2\n\n"),
    (["known_command play"], "= true\n\n"),
    (["known_command analyze"], "= false\n\n"),
    (["known_command"], "? Expected single argument for known_command but got ''\n\n"),
    (["known_command a b"], "? Expected single argument for known_command but got 'a b'\n\n"),
    (["foo"], "? unknown command\n\n"),
    (["12foo"], "?12 unknown command\n\n"),
    (["12 \t foo"], "?12 unknown command\n\n"),
    # KataGo leaves the empty line out after these two, and the controller waits.
    (["9999999999 name"], "? GTP id '9999999999' could not be parsed\n\n"),
    (["7"], "? empty command\n\n"),
    (["# comment"], ""),
    (["name # comment"], "= KataGo\n\n"),
    (["n\x01a\x7fm\xe4e\r"], "= KataGo\n\n"),
    ([""], ""),
    (["boardsize 1"], "? unacceptable size\n\n"),
    (["boardsize 20"], "? unacceptable size (the largest board is 19x19)\n\n"),
    (["boardsize x"], "? Expected int argument for boardsize or pair of ints but got 'x'\n\n"),
    (["boardsize 9:9:9"], "? Expected int argument for boardsize or pair of ints but got '9:9:9'\n\n"),
    (["boardsize"], "? Expected int argument for boardsize or pair of ints but got ''\n\n"),
    (["boardsize 9:7"], "= \n\n"),
    (["boardsize 7 9"], "= \n\n"),
    (["rectangular_boardsize 7 9"], "= \n\n"),
    (["clear_board"], "= \n\n"),
    (["komi 1000"], "? unacceptable komi\n\n"),
    (["komi x"], "? Expected single float argument for komi but got 'x'\n\n"),
    (["komi nan"], "? Expected single float argument for komi but got 'nan'\n\n"),
    (["komi 7.3"], "? komi must be an integer or half-integer\n\n"),
    (["komi 6.5"], "= \n\n"),
    (["komi 6.5", "get_komi"], "= 6.5\n\n"),
    (["komi -7", "get_komi"], "= -7\n\n"),
    (["play b Z99"], "? Could not parse vertex: 'Z99'\n\n"),
    (["play b I5"], "? Could not parse vertex: 'I5'\n\n"),
    (["play x D4"], "? Could not parse color: 'x'\n\n"),
    (["play b"], "? Expected two arguments for play but got 'b'\n\n"),
    (["play b (99,3)"], "? Could not parse vertex: '(99,3)'\n\n"),
    (["play b (3,3)"], "= \n\n"),
    (["play B d4"], "= \n\n"),
    (["play BLACK PASS"], "= \n\n"),
    (["play b D4", "play w D4"], "? illegal move\n\n"),
    (["undo"], "? cannot undo\n\n"),
    (["play b D4", "undo"], "= \n\n"),
    (["play b D4", "undo", "play w D4"], "= \n\n"),
    (["stop"], "= \n\n"),
    (["time_settings 0 5 0"], "= \n\n"),
    (["time_settings 10 5 1"], "= \n\n"),
    (["time_settings 10"], "? Expected float for byo-yomi per-period time as argument 1\n\n"),
    (["time_settings a b c"], "? Expected float for main time as argument 0\n\n"),
    (["time_settings 1 2 -1"], "? byo-yomi overtime stones is an invalid value: -1\n\n"),
    (["time_settings 10 5 1", "time_left b 5 0"], "= \n\n"),
    (["time_settings 10 5 1", "time_left b 5 1"], "= \n\n"),
    (["time_left b x 0"], "? Expected player and float time and int stones for time_left but got 'b x 0'\n\n"),
    (["time_left b -11 0"], "? invalid time\n\n"),
    (["time_left b 5 -1"], "? invalid stones\n\n"),
    (
        ["time_settings 10 0 0", "time_left b 5 1"],
        "? stones left in period is > 0 but the time control used does not have any overtime periods\n\n",
    ),
    (["kata-list_time_settings"], "= none absolute byoyomi canadian fischer fischer-capped\n\n"),
    (["kata-time_settings fischer 10 1"], "= \n\n"),
    (["kata-time_settings fischer-capped 10 1 -1 5"], "= \n\n"),
    (["kata-time_settings byoyomi 10 5 3"], "= \n\n"),
    (["kata-time_settings absolute 10"], "= \n\n"),
    (["kgs-time_settings none"], "= \n\n"),
    (["kgs-time_settings canadian 10 5 3"], "= \n\n"),
    (
        ["kgs-time_settings fischer 10 1"],
        "? Expected 'none', 'absolute', 'byoyomi', or 'canadian' as first argument for kgs-time_settings\n\n",
    ),
    (
        ["kata-time_settings"],
        "? Expected 'none', 'absolute', 'byoyomi', 'canadian', 'fischer', or 'fischer-capped' as first argument for"
        " kata-time_settings\n\n",
    ),
    (["kata-get-param analysisWideRootNoise"], "= 0.04\n\n"),
    (["kata-get-param cpuctExploration"], "= 1.0\n\n"),
    (["kata-get-param maxTime"], "= 1e+20\n\n"),
    (["kata-get-param allowResignation"], "= true\n\n"),
    (["kata-get-param foo"], "? Invalid parameter: foo\n\n"),
    (["kata-get-param"], "? Expected one arguments for kata-get-param but got ''\n\n"),
    (["kata-set-param maxVisits 10", "kata-get-param maxVisits"], "= 10\n\n"),
    (["kata-set-param wideRootNoise 0.5", "kata-get-param wideRootNoise"], "= 0.5\n\n"),
    # What is no parameter of a search stays as it is.
    (
        ["kata-set-param allowResignation false", "kata-set-param allowResignation", "kata-get-param allowResignation"],
        "= false\n\n",
    ),
    (
        ["kata-set-param foo 3"],
        "? Could not set params: Unrecognized or non-overridable parameter in kata-set-params: foo\n\n",
    ),
    (["kata-set-param"], "? Expected one or two arguments for kata-set-param but got ''\n\n"),
    (["fixed_handicap 1"], "? Number of handicap stones less than 2: '1'\n\n"),
    (["fixed_handicap x"], "? Could not parse number of handicap stones: 'x'\n\n"),
    (["fixed_handicap"], "? Expected one argument for fixed_handicap but got ''\n\n"),
    (["fixed_handicap 10"], "? Fixed handicap > 9 is not allowed, try place_free_handicap\n\n"),
    (["play b D4", "fixed_handicap 2"], "? Board is not empty\n\n"),
    ([*ON_9X9, "fixed_handicap 4"], "= C7 G7 C3 G3\n\n"),
    (["fixed_handicap 2"], "= Q16 D4\n\n"),
    (["fixed_handicap 9"], "= D16 K16 Q16 D10 K10 Q10 D4 K4 Q4\n\n"),
    (["boardsize 6", "fixed_handicap 2"], "? Board is too small for fixed handicap, try place_free_handicap\n\n"),
    (["set_free_handicap D4 E5"], "= \n\n"),
    (["set_free_handicap D4 D4"], "? Handicap placement is invalid\n\n"),
    (["set_free_handicap D4 Z4"], "? Handicap placement is invalid\n\n"),
    (["play b D4", "set_free_handicap D5 E5"], "? Board is not empty\n\n"),
    (["set_position b C4 w D4"], "= \n\n"),
    (
        ["set_position b C4 w"],
        "? Expected a space-separated sequence of <COLOR> <VERTEX> pairs but got 'b C4 w'\n\n",
    ),
    (
        ["set_position b C4 x D4"],
        "? Expected a space-separated sequence of <COLOR> <VERTEX> pairs but got 'b C4 x D4': could not parse color:"
        " 'x'\n\n",
    ),
    (
        ["set_position b C4 w pass"],
        "? Expected a space-separated sequence of <COLOR> <VERTEX> pairs but got 'b C4 w pass': could not parse"
        " vertex: 'pass'\n\n",
    ),
    (
        ["set_position b C4 w C4"],
        "? Illegal stone placements - overlapping stones or stones with no liberties?\n\n",
    ),
    (
        ["set_position b A1 w A2 w B1"],
        "? Illegal stone placements - overlapping stones or stones with no liberties?\n\n",
    ),
    (["kata-set-rules foo"], "? Unknown rules 'foo', Could not parse rules: foo\n\n"),
    (
        ['kata-set-rules {"ko":"simple"}'],
        '? Unknown rules \'{"ko":"simple"}\', Rules::parseKoRule: Invalid ko rule: simple\n\n',
    ),
    (["kata-set-rules Chinese"], "= \n\n"),
    (
        ["kata-get-rules"],
        '= {"friendlyPassOk":false,"hasButton":false,"ko":"POSITIONAL","scoring":"AREA","suicide":true,"tax":"NONE",'
        '"whiteHandicapBonus":"0"}\n\n',
    ),
    (
        ["kata-set-rules japanese", "kata-get-rules"],
        '= {"friendlyPassOk":false,"hasButton":false,"ko":"SIMPLE","scoring":"TERRITORY","suicide":false,'
        '"tax":"SEKI","whiteHandicapBonus":"0"}\n\n',
    ),
    (
        ["kgs-rules chinese", "kata-get-rules"],
        '= {"friendlyPassOk":true,"hasButton":false,"ko":"POSITIONAL","scoring":"AREA","suicide":false,"tax":"NONE",'
        '"whiteHandicapBonus":"N"}\n\n',
    ),
    (["kgs-rules foo"], "? Unknown rules 'foo'\n\n"),
    (["kgs-rules"], "? Expected one argument kgs-rules\n\n"),
    (["kata-set-rule ko SIMPLE"], "= \n\n"),
    (["kata-set-rule ko"], "? Expected two arguments for kata-set-rule but got 'ko'\n\n"),
    (["kata-set-rule foo bar"], "? Unknown rules option: foo\n\n"),
    (["kata-set-rule ko foo"], "? Rules::parseKoRule: Invalid ko rule: FOO\n\n"),
    (["cputime"], "= 0\n\n"),
    (["clear_cache"], "= \n\n"),
    (["quit"], "= \n\n"),
    (["kata-analyze foo bar"], "? Could not parse analyze arguments or arguments out of range: 'foo bar'\n\n"),
    (
        ["kata-genmove_analyze w 10 rootInfo"],
        "? Could not parse genmove_analyze arguments or arguments out of range: 'w 10 rootInfo'\n\n",
    ),
    (["genmove x"], "? Could not parse color: 'x'\n\n"),
    (["genmove"], "? Expected one argument for genmove but got ''\n\n"),
    (["final_status_list x"], "? Argument to final_status_list must be 'alive' or 'seki' or 'dead'\n\n"),
    (["final_status_list"], "? Expected one argument for final_status_list but got ''\n\n"),
    (
        ["kata-raw-nn"],
        "? Expected a symmetry argument 'all' or index [0-7] for kata-raw-nn (expected an optional color, a symmetry"
        " 'all' or index [0-7], and an optional optimism [0-1])\n\n",
    ),
    (
        ["kata-raw-nn 9"],
        "? Expected a symmetry argument 'all' or index [0-7] but got '9' for kata-raw-nn (expected an optional color,"
        " a symmetry 'all' or index [0-7], and an optional optimism [0-1])\n\n",
    ),
    (
        ["kata-raw-nn 0 2"],
        "? Expected an optimism value in [0,1] but got '2' for kata-raw-nn (expected an optional color, a symmetry"
        " 'all' or index [0-7], and an optional optimism [0-1])\n\n",
    ),
    (
        ["kata-raw-nn 0 0.5 x"],
        "? Unexpected extra argument 'x' for kata-raw-nn (expected an optional color, a symmetry 'all' or index"
        " [0-7], and an optional optimism [0-1])\n\n",
    ),
]


@pytest.mark.parametrize(("lines", "reply"), RECORDED, ids=[" / ".join(lines)[:60] for lines, _ in RECORDED])
def test_reply(lines: list[str], reply: str) -> None:
    client = gtp()
    for line in lines[:-1]:
        assert client.line(line).startswith(b"=")
    assert client.line(lines[-1].encode("latin-1")).decode() == reply
    assert not client.engine.submitted


def test_version_begins_with_katagos_and_splits_on_dots() -> None:
    version = gtp().line("version").decode()[2:].strip()
    major, minor, *_ = version.split(".")
    assert (int(major), int(minor)) == (1, 17)
    assert f"katago-agent-{__version__.replace('.', '-')}" in version
    assert len(version.split("+g170e")[0].split(".")) == 3  # Ogatak reads three parts or none
    assert "g170e-b15c192" in version


def test_version_is_what_whoever_starts_us_wants_it_to_be() -> None:
    assert gtp(ServiceOptions(version="1.16.4")).line("version") == b"= 1.16.4\n\n"


def test_every_must_command_is_listed() -> None:
    listed = gtp().line("list_commands").decode()[2:].split()
    must = """name version protocol_version list_commands known_command quit boardsize rectangular_boardsize clear_board
    komi play undo genmove set_free_handicap fixed_handicap time_settings lz-analyze kata-analyze lz-genmove_analyze
    kata-genmove_analyze final_score kata-set-rules kata-get-rules kata-set-param kata-get-param stop kata-raw-nn
    kata-get-models"""
    assert set(must.split()) <= set(listed)
    assert not {"analyze", "genmove_analyze"} & set(listed)
    assert len(listed) == len(set(listed))
    client = gtp()
    for command in listed:
        assert client.line(f"known_command {command}") == b"= true\n\n"


def test_visits_that_a_client_sets_are_not_cut_short_by_the_profiles_time() -> None:
    client = gtp(ServiceOptions(max_visits=60, max_time_s=30.0))
    for line, visits, seconds in (
        ("kata-set-param maxVisits 5000", "5000", "1e+20"),
        ("kata-set-param maxTime 8", "5000", "8.0"),
        ("kata-set-param maxVisits", "60", "8.0"),
        ('kata-set-params {"maxTime":""}', "60", "30.0"),
        ("kata-set-param maxPlayouts 300", str(MAX_VISITS), "1e+20"),
    ):
        assert client.line(line) == b"= \n\n"
        told = client.line("kata-get-param maxVisits") + client.line("kata-get-param maxTime")
        assert told.decode() == f"= {visits}\n\n= {seconds}\n\n", line


def test_a_game_that_is_full_takes_no_more_moves() -> None:
    """Every undo and every search plays the game anew, and nobody else is served meanwhile."""
    client = gtp()
    client.line("kata-set-rules chinese")
    for number in range(MAX_MOVES):
        assert client.line(f"play {'bw'[number % 2]} pass") == b"= \n\n"
    refusal = b"? a game holds at most 10000 moves; clear_board begins another\n\n"
    assert client.line("play b pass") == refusal
    client.line("undo")
    assert [client.line("play w pass"), client.line("play b pass")] == [b"= \n\n", refusal]
    client.line("clear_board")
    assert client.line("play b pass") == b"= \n\n"


UNSET = "kata-set-param humanSLProfile"


@pytest.mark.parametrize(
    ("ready", "lines", "asked"),
    [
        (["imitates_anybody"], ["kata-set-param humanSLProfile rank_1d"], "rank_1d"),
        (["imitates_anybody"], ['kata-set-params {"humanSLProfile":"preaz_3k"}'], "preaz_3k"),
        (["imitates_anybody"], ["kata-set-param humanSLProfile rank_1d", UNSET], ""),
        (["imitates_anybody"], ["kata-set-param humanSLProfile rank_21k"], ""),
        (["imitates_anybody"], ["kata-set-param humanSLProfile rank_0k"], ""),
        (["imitates_anybody"], ["kata-set-param humanSLProfile rank_9k_3d"], ""),
        (["imitates_anybody", "imitates_pairs"], ["kata-set-param humanSLProfile rank_9k_3d"], "rank_9k_3d"),
        ([], ["kata-set-param humanSLProfile rank_1d"], ""),
        ([], ["kata-set-param humanSLProfile rank_5k"], "rank_5k"),
    ],
)
def test_whom_a_human_style_network_imitates(ready: list[str], lines: list[str], asked: str) -> None:
    client = gtp()
    client.engine.ready = msgspec.structs.replace(
        READY, has_human_sl=True, human_profile="rank_5k", **dict.fromkeys(ready, True)
    )
    for line in lines:
        client.line(line)
    # Where the client names nobody, the owner's.
    told = asked or "rank_5k"
    assert client.line("kata-get-param humanSLProfile").decode() == f"= {told}\n\n"
    assert json.loads(client.line("kata-get-params").decode()[2:])["humanSLProfile"] == told
    client.line("kata-raw-nn 0")
    client.line("genmove b")
    client.release()
    assert {request.human_profile for request in client.engine.submitted} == {asked}


def test_one_player_against_another_is_refused_by_who_does_not_know_it() -> None:
    client = gtp()
    client.engine.ready = msgspec.structs.replace(
        READY, has_human_sl=True, human_profile="rank_5k", imitates_anybody=True
    )
    assert client.line("kata-set-param humanSLProfile rank_9k_3d").decode() == (
        "? Could not set params: humanSLProfile 'rank_9k_3d' names a rank for each colour, which only a native katago"
        " knows; name one rank\n\n"
    )


def test_another_network_takes_no_profile() -> None:
    assert gtp().line("kata-set-param humanSLProfile rank_1d").decode() == (
        "? Could not set params: WARNING: humanSLProfile is specified as config param but model(s) don't use it:"
        " g170e-b15c192-s1672170752-d466197061\n\n"
    )
    assert gtp().line("kata-set-param humanSLProfile me").decode() == (
        "? Could not set params: Unknown human SL network profile: me\n\n"
    )


def test_models_name_the_network_and_no_path() -> None:
    assert gtp().line("kata-get-models").decode() == (
        '= [{"internalName":"g170e-b15c192-s1672170752-d466197061","maxBatchSize":4,'
        '"name":"g170e-b15c192-s1672170752-d466197061","usesHumanSLProfile":false,"usingFP16":"false","version":8}]\n\n'
    )


def test_showboard() -> None:
    client = gtp()
    for line in ["boardsize 9", "komi 6.5", "play b D4", "play w E5", "play b pass", "play w A9"]:
        client.line(line)
    shown = client.line("showboard").decode()
    head, _, rest = shown.partition("\n")
    assert head.startswith("= MoveNum: 4 HASH: ")
    assert rest == (
        "   A B C D E F G H J\n"
        " 9 O3. . . . . . . .\n"
        " 8 . . . . . . . . .\n"
        " 7 . . . . . . . . .\n"
        " 6 . . . . . . . . .\n"
        " 5 . . . . O1. . . .\n"
        " 4 . . . X . . . . .\n"
        " 3 . . . . . . . . .\n"
        " 2 . . . . . . . . .\n"
        " 1 . . . . . . . . .\n"
        "Next player: Black\n"
        'Rules: {"friendlyPassOk":false,"hasButton":false,"ko":"POSITIONAL","komi":6.5,"scoring":"AREA",'
        '"suicide":true,"tax":"NONE","whiteHandicapBonus":"0"}\n'
        "B stones captured: 0\n"
        "W stones captured: 0\n\n"
    )


def test_a_line_that_was_too_long_is_answered_and_the_next_one_serves() -> None:
    client = gtp()
    client._carry_out(client.connection.receive_oversized(b"play b"))
    assert client.output == b"? line is too long\n\n"
    assert client.line("name") == b"= KataGo\n\n"


def test_quit_closes() -> None:
    client = gtp()
    assert client.line("3 quit") == b"=3 \n\n"
    assert client.is_closed
    assert client.connection.receive_line(b"name") == client.connection.receive_line(b"genmove b") == []


def test_new_rules_keep_the_game() -> None:
    client = gtp()
    for line in ["play b D4", "play w Q16", "kata-set-rules japanese", "undo"]:
        assert client.line(line) == b"= \n\n"
    assert client.line("play w D4") == b"? illegal move\n\n"
    assert client.line("play w Q16") == b"= \n\n"


def test_reading_stops_while_commands_wait() -> None:
    for line, count in ((b"name", MAX_WAITING_COMMANDS), (b"#" * (MAX_WAITING_BYTES // 4), 4)):
        client = gtp()
        client.line("genmove b")
        for _ in range(count):
            assert not client.connection.is_backlogged
            client.line(line)
        assert client.connection.is_backlogged
        client.release()
        assert not client.connection.is_backlogged
