"""The conversations that `record_gtp.py` holds with a native katago: every row of the GTP table, errors too.

Each scenario has an engine of its own, started with `settings` (an empty one is left out of the configuration), in a
folder with `files`. A line is sent when the reply to the one before is complete; of an analysis, when it has told
something.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Scenario(NamedTuple):
    name: str
    lines: tuple[str, ...]
    settings: Mapping[str, str] = {}
    files: Mapping[str, str] = {}


def scenario(name: str, lines: str, settings: Mapping[str, str] = {}, files: Mapping[str, str] = {}) -> Scenario:
    """One line of `lines` for each command; empty lines are sent, the first and the last one are none."""
    return Scenario(name, tuple(line.strip() for line in lines.split("\n")[1:-1]), settings, files)


TIMES_LEFT = ("100 0", "0.5 0", "-3 0", "100 2", "3 2", "29 1", "-2 2", "280 25", "20 12")
CLOCKS = (
    "none",
    "absolute 600",
    "absolute 1",
    "fischer 300 10",
    "fischer 5 10",
    "fischer-capped 100 20 110 15",
    "fischer-capped 100 0.1 -1 3",
    "byoyomi 600 30 5",
    "byoyomi 600 30 1",
    "byoyomi 60 10 12",
    "byoyomi 0 0 3",
    "canadian 600 300 25",
    "canadian 60 5 1",
)
GAME = "(;FF[4]GM[1]SZ[9]KM[6.5]RU[Japanese];B[ee];W[cc];B[tt];W[gg](;B[gc];W[ba])(;B[aa]))"

SCENARIOS = (
    scenario(
        "what it is",
        """
        name
        1 name
        protocol_version
        2 protocol_version
        version
        known_command play
        known_command analyze
        known_command kata-analyze
        known_command foo
        known_command
        known_command a b
        foo
        12foo
        12 foo bar
        Name
        name # comment
        # comment

        kata-get-models
        cputime
        gomill-cpu_time
        stop
        list_commands
        quit
        """,
    ),
    scenario(
        "boards and moves",
        """
        boardsize
        boardsize x
        boardsize 1
        boardsize 20
        boardsize 9:9:9
        boardsize 9 9 9
        boardsize 9 1
        boardsize 7.5
        boardsize 7 9
        showboard
        rectangular_boardsize 9:7
        showboard
        boardsize 9
        play
        play b
        play b D4 E5
        play x D4
        play b Z99
        play b I5
        play b D10
        play b
        play B d4
        play w D4
        play white E5
        play BLACK PASS
        play w pss
        showboard
        undo
        undo
        showboard
        play w A9
        showboard
        clear_board
        undo
        play b A2
        play w A1
        play b B1
        play w A1
        showboard
        play b D4
        play b E4
        showboard
        undo
        showboard
        play w E4
        play w F4
        boardsize 9
        showboard
        boardsize 13
        showboard
        clear_board
        """,
    ),
    scenario(
        "ko and superko are played as told",
        """
        boardsize 5
        play b B2
        play w C2
        play b A1
        play w D1
        play b C1
        play w B1
        play b C1
        showboard
        kata-set-rules japanese
        showboard
        """,
    ),
    scenario(
        "komi",
        """
        get_komi
        komi
        komi x
        komi nan
        komi inf
        komi 1 2
        komi 1000
        komi -401
        komi 7.3
        komi 6.25
        komi 6.5
        get_komi
        komi -7
        get_komi
        komi 0
        get_komi
        komi 1e1
        get_komi
        kata-set-rules japanese
        get_komi
        """,
    ),
    scenario(
        "rules",
        """
        kata-get-rules
        kata-get-rules x
        kata-set-rules
        kata-set-rules foo
        kata-set-rules Chinese
        kata-get-rules
        kata-set-rules chinese-ogs
        kata-get-rules
        kata-set-rules koSIMPLEscoreTERRITORYtaxSEKIsui0
        kata-get-rules
        kata-set-rules {"ko":"SIMPLE","scoring":"AREA","suicide":false,"tax":"NONE"}
        kata-get-rules
        kata-set-rules {"ko":"simple"}
        kata-set-rules {"ko":"SIMPLE"
        kata-set-rules {"komi":5}
        kata-set-rules koSPIGHTscoreAREAtaxNONEsui0
        kata-set-rule
        kata-set-rule ko
        kata-set-rule ko foo
        kata-set-rule foo bar
        kata-set-rule scoring TERRITORY
        kata-set-rule tax all
        kata-set-rule suicide TRUE
        kata-set-rule hasButton true
        kata-set-rule whiteHandicapBonus N-1
        kata-set-rule friendlyPassOk yes
        kata-get-rules
        kgs-rules
        kgs-rules foo
        kgs-rules chinese
        kata-get-rules
        kgs-rules AGA
        kata-get-rules
        kgs-rules new_zealand
        kata-get-rules
        kgs-rules japanese
        kata-get-rules
        """,
    ),
    scenario(
        "handicap",
        """
        fixed_handicap
        fixed_handicap x
        fixed_handicap 1
        fixed_handicap 10
        fixed_handicap 9
        showboard
        fixed_handicap 2
        clear_board
        fixed_handicap 2
        clear_board
        fixed_handicap 3
        clear_board
        fixed_handicap 5
        clear_board
        fixed_handicap 6
        clear_board
        fixed_handicap 7
        clear_board
        fixed_handicap 8
        boardsize 13 9
        fixed_handicap 9
        boardsize 8
        fixed_handicap 4
        clear_board
        fixed_handicap 5
        boardsize 7
        fixed_handicap 5
        boardsize 6
        fixed_handicap 2
        boardsize 9
        set_free_handicap
        set_free_handicap D4 E5
        showboard
        clear_board
        set_free_handicap D4
        clear_board
        set_free_handicap D4 D4
        set_free_handicap D4 Z4
        set_free_handicap D4 pass
        clear_board
        play b D4
        set_free_handicap D5 E5
        place_free_handicap
        place_free_handicap x
        place_free_handicap 1
        place_free_handicap 3
        """,
    ),
    scenario(
        "set-up positions",
        """
        boardsize 9
        set_position
        showboard
        set_position b C4 w D4 B E5
        showboard
        set_position b C4 w
        set_position b C4 x D4
        set_position b C4 w pass
        set_position b C4 w Z9
        set_position b C4 w C4
        set_position b A1 w A2 w B1
        showboard
        play b A9
        undo
        undo
        """,
    ),
    scenario(
        "clocks: arguments",
        """
        time_settings
        time_settings 10
        time_settings 10 5
        time_settings a b c
        time_settings 10 5 x
        time_settings -1 5 1
        time_settings 1 2 -1
        time_settings 1 2 2000000
        time_settings 0 5 0
        time_settings 10 5 1
        time_left
        time_left b x 0
        time_left x 5 0
        time_left b 5 0
        time_left b 5 1
        time_left w -11 0
        time_left w -9 0
        time_left w 5 -1
        time_left w 5 200000
        time_settings 10 0 0
        time_left b 5 1
        kata-list_time_settings
        kata-time_settings
        kata-time_settings foo
        kata-time_settings none
        kata-time_settings absolute
        kata-time_settings absolute x
        kata-time_settings fischer 10
        kata-time_settings fischer 10 -1
        kata-time_settings fischer-capped 10 1
        kata-time_settings fischer-capped 10 1 5 5
        kata-time_settings fischer-capped 10 1 -1 -1
        kata-time_settings byoyomi 10
        kata-time_settings byoyomi 10 5
        kata-time_settings byoyomi 10 5 x
        kata-time_settings byoyomi 10 5 0
        kata-time_settings canadian 10 5
        kata-time_settings canadian 10 5 0
        kgs-time_settings
        kgs-time_settings none
        kgs-time_settings fischer 10 1
        kgs-time_settings byoyomi 10 5 3
        kgs-time_settings canadian 10 5 3
        kgs-time_settings absolute 100
        """,
    ),
    Scenario(
        "clocks: what a move gets",
        (
            "play b D4",
            "play w Q16",
            *(
                line
                for clock in CLOCKS
                for line in (
                    f"kata-time_settings {clock}",
                    "kata-debug-print-tc",
                    *(
                        again
                        for left in TIMES_LEFT
                        if left.endswith(" 0") or clock.split()[0] in ("byoyomi", "canadian")
                        for again in (f"time_left b {left}", "kata-debug-print-tc")
                    ),
                )
            ),
        ),
    ),
    scenario(
        "parameters",
        """
        kata-get-param
        kata-get-param a b
        kata-get-param foo
        kata-get-param maxVisits
        kata-get-param maxTime
        kata-get-param analysisWideRootNoise
        kata-get-param analysisIgnorePreRootHistory
        kata-get-param allowResignation
        kata-get-param ponderingEnabled
        kata-get-param cpuctExploration
        kata-get-param lagBuffer
        kata-get-param conservativePass
        kata-set-param
        kata-set-param a b c
        kata-set-param foo 3
        kata-set-param maxVisits 20
        kata-get-param maxVisits
        kata-set-param maxVisits x
        kata-set-param maxVisits 0
        kata-set-param analysisWideRootNoise 9
        kata-set-param analysisWideRootNoise 0.125
        kata-get-param analysisWideRootNoise
        kata-set-param ponderingEnabled maybe
        kata-set-param ponderingEnabled false
        kata-set-param allowResignation true
        kata-get-param allowResignation
        kata-set-param wideRootNoise 0.5
        kata-get-param wideRootNoise
        kata-set-param playoutDoublingAdvantage 4
        kata-set-param lagBuffer 0.25
        kata-get-param lagBuffer
        kata-set-param maxPlayouts 100
        kata-get-param maxPlayouts
        kata-set-param numSearchThreads 1
        kata-get-param numSearchThreads
        kata-set-param numSearchThreads x
        kata-set-param numSearchThreads 0
        kata-set-param reportAnalysisWinratesAs BLACK
        kata-set-param rules chinese
        kata-set-params
        kata-set-params []
        kata-set-params {"maxVisits":30,"wideRootNoise":0.25}
        kata-get-param maxVisits
        kata-set-params {"maxVisits":40,"foo":1}
        kata-get-param maxVisits
        """,
    ),
    scenario(
        "moves of the engine",
        """
        boardsize 7
        genmove
        genmove x
        genmove b w
        1 genmove b
        2 genmove w
        undo
        genmove b
        kata-search
        kata-search w
        kata-search_cancellable
        kata-search_cancellable w
        lz-genmove_analyze b 100
        kata-genmove_analyze w 100 rootInfo true
        7 kata-genmove_analyze b interval 100
        kata-genmove_analyze w 10 rootInfo
        lz-genmove_analyze w 100 ownership true
        kata-search_analyze w 100 ownership true
        kata-search_analyze_cancellable w 100
        kata-search_analyze_cancellable w 100 foo
        place_free_handicap 2
        clear_board
        place_free_handicap 3
        clear_board
        place_free_handicap 900
        """,
        {"maxVisits": "6"},
    ),
    scenario(
        "moves after the end of a game",
        """
        boardsize 5
        komi 0.5
        play b C3
        play w C4
        play b B4
        play w A1
        play b D4
        play w E5
        play b pass
        play w pass
        final_score
        kata-search b
        kata-search_analyze b 100
        genmove b
        undo
        lz-genmove_analyze b 100
        undo
        kata-genmove_analyze b 100
        undo
        final_score
        kata-genmove_analyze b 100 allow b C5 1
        showboard
        clear_board
        kata-set-rules japanese
        play b B2
        play w C2
        play b A1
        play w D1
        play b C1
        play w B1
        play b C1
        play w B1
        play b C1
        play w B1
        final_score
        kata-search b
        genmove b
        play b C1
        play w B1
        play b C1
        genmove w
        """,
        {"maxVisits": "60"},
    ),
    scenario(
        "searches that the next line cancels",
        """
        boardsize 7
        1 kata-search_cancellable b
        2 name
        3 kata-search_cancellable b

        4 kata-search_analyze_cancellable b 1
        5 name
        """,
        {"maxVisits": "10000000", "maxTime": "1000"},
    ),
    scenario(
        "analysis",
        """
        boardsize 5
        1 kata-analyze 10
        2 name
        kata-analyze b 10

        lz-analyze 10
        stop
        lz-analyze b interval 10
        stop
        lz-analyze b 10 ownership true
        kata-analyze interval 10 maxmoves 1
        stop
        kata-analyze b 10 rootInfo true
        stop
        kata-analyze w 10 ownership true
        stop
        kata-analyze b 10 ownership true ownershipStdev true
        stop
        kata-analyze b 10 movesOwnership true movesOwnershipStdev true maxmoves 2
        stop
        kata-analyze b 10 pvVisits true pvEdgeVisits true noResultValue true maxmoves 2
        stop
        kata-analyze b 10 rootInfo TRUE ownership False pvVisits true maxmoves 2 minmoves 1
        stop
        kata-analyze b 10 avoid b C3,A1 2 avoid w B2 1 maxmoves 1
        stop
        kata-analyze b 10 allow b C3,C4 3 allow w pass 1 maxmoves 1
        stop
        lz-analyze b 10 allow b C3 1
        stop
        kata-analyze foo bar
        kata-analyze b 10 avoid b A1
        kata-analyze b 10 avoid b Z99 1
        kata-analyze b 10 avoid x A1 1
        kata-analyze b 10 avoid b A1 0
        kata-analyze b 10 avoid b A1 1 allow b B1 1
        kata-analyze b 10 allow b A1 1 allow b B1 1
        kata-analyze b 10 allow b A1 1 avoid b B1 1
        kata-analyze b 10 maxmoves -1
        kata-analyze b 10 minmoves x
        kata-analyze b 10 interval x
        kata-analyze b 10 ownership maybe
        kata-analyze b 10 foo true
        kata-analyze b -5
        kata-analyze b 10 10
        """,
        {"analysisPVLen": "4"},
    ),
    scenario(
        "the network alone",
        """
        boardsize 5
        play b C3
        kata-raw-nn
        kata-raw-nn 0
        kata-raw-nn b 1
        kata-raw-nn all
        kata-raw-nn 0 0.5
        kata-raw-nn w 7 1
        kata-raw-nn 9
        kata-raw-nn x
        kata-raw-nn 0 2
        kata-raw-nn 0 0.5 x
        kata-raw-nn 0 b
        kata-raw-human-nn
        kata-raw-human-nn 9
        kata-raw-human-nn 0 0.5
        kata-raw-human-nn 0
        clear_cache
        kata-benchmark
        kata-benchmark 1 2
        """,
    ),
    scenario(
        "the end of a game that the rules count",
        """
        boardsize 5
        komi 0.5
        final_status_list
        final_status_list x
        final_status_list alive dead
        play b C3
        play w pass
        play b pass
        final_score
        final_status_list alive
        final_status_list dead
        final_status_list seki
        printsgf
        komi 7
        final_score
        clear_board
        komi 0
        play b pass
        play w pass
        final_score
        final_status_list alive
        printsgf
        boardsize 3
        kata-set-rules tromp-taylor
        set_position w A2 w B2 w C2 w B1 b A3
        play b pass
        play w pass
        final_score
        final_status_list alive
        final_status_list dead
        """,
    ),
    scenario(
        "games as SGF",
        """
        printsgf a b
        printsgf
        printsgf -
        boardsize 9 7
        komi -3.5
        kata-set-rules koSIMPLEscoreAREAtaxSEKIsui0button1whbN-1fpok1
        set_position b A1 w E4 b A2
        play b C3
        play w pass
        printsgf
        boardsize 9
        clear_board
        kata-set-rules chinese
        fixed_handicap 2
        play w E5
        showboard
        printsgf
        clear_board
        kata-set-rules aga
        play b C3
        play b G7
        play w E5
        showboard
        printsgf
        play w E6
        printsgf
        loadsgf
        loadsgf a b c
        loadsgf missing.sgf
        loadsgf game.sgf 0
        loadsgf game.sgf x
        loadsgf game.sgf
        showboard
        get_komi
        kata-get-rules
        printsgf
        loadsgf game.sgf 3
        showboard
        undo
        undo
        undo
        loadsgf game.sgf 99
        showboard
        loadsgf nothing.sgf
        showboard
        get_komi
        kata-get-rules
        loadsgf handicap.sgf
        showboard
        loadsgf occupied.sgf
        loadsgf later.sgf
        loadsgf overlap.sgf
        showboard
        printsgf no/such/folder
        printsgf written.sgf
        loadsgf written.sgf
        showboard
        """,
        files={
            "game.sgf": GAME,
            "handicap.sgf": "(;SZ[9]HA[2]AB[cc][gg]AE[aa])",
            "occupied.sgf": "(;SZ[9];B[ee];W[ee])",
            "later.sgf": "(;SZ[9];B[ee];AW[cc])",
            "overlap.sgf": "(;SZ[9]AB[aa]AW[aa])",
            "nothing.sgf": "(;SZ[7])",
        },
    ),
    scenario(
        "a session of LizzieYzy",
        """
        name
        komi 7.5
        boardsize 9
        clear_board
        kata-set-rules chinese
        kata-get-param playoutDoublingAdvantage
        kata-get-param analysisWideRootNoise
        kata-get-rules
        kata-set-param numSearchThreads 1
        kata-set-param analysisWideRootNoise 0.04
        kata-set-param playoutDoublingAdvantage 0.0
        play B E5
        kata-analyze W 10 ownership true pvVisits true movesOwnership true
        name
        kata-analyze 10 ownership true
        name
        kata-analyze B 10 pvVisits true
        name
        lz-analyze B 10
        name
        kata-analyze B 10 allow B C3,C7 1 ownership true
        name
        kata-analyze B 10 avoid B C3,C7 5 avoid W C3,C7 5
        name
        kata-genmove_analyze W 10 ownership true pvVisits true
        kata-raw-nn 3
        lz-genmove_analyze B 10
        time_settings 0 5 1
        kata-time_settings byoyomi 60 10 3
        time_left B 60 0
        undo
        stop
        fixed_handicap 2
        clear_board
        place_free_handicap 3
        kata-set-rules {"ko":"POSITIONAL", "scoring":"AREA", "suicide":false, "tax":"ALL", "whiteHandicapBonus":"N"}
        kata-set-rules chinese-kgs
        kata-set-rules bga
        kata-set-rules new-zealand
        0 protocol_version
        1 rectangular_boardsize 9 13
        2 known_command known_command
        3 time_settings 1 1 0
        4 komi 1e9
        """,
        {"maxVisits": "6"},
    ),
    scenario(
        "the encore",
        """
        boardsize 5
        kata-set-rules japanese
        play b C3
        play w pass
        play b pass
        showboard
        play w pass
        play b pass
        showboard
        play w pass
        play b pass
        final_score
        final_status_list alive
        printsgf
        """,
        {"preventCleanupPhase": "false"},
    ),
    scenario(
        "pondering is not heard",
        """
        boardsize 7
        1 genmove b
        2 name
        3 time_left b 100 0
        4 komi 6.5
        5 play w A1
        6 genmove b
        7 undo
        8 kata-analyze 10
        9 stop
        10 genmove w
        11 kata-set-param ponderingEnabled false
        12 kata-get-param ponderingEnabled
        13 clear_board
        14 quit
        """,
        {"maxVisits": "6", "ponderingEnabled": "true"},
    ),
    scenario(
        "what a configuration does not name",
        """
        kata-debug-print-tc
        kata-get-param maxVisits
        kata-get-param maxPlayouts
        kata-get-param maxTime
        kata-get-param maxTimePondering
        kata-get-param lagBuffer
        kata-get-param allowResignation
        kata-get-param ponderingEnabled
        kata-set-param maxVisits 20
        kata-set-param maxVisits
        kata-get-param maxVisits
        kata-debug-print-tc
        """,
        {"maxVisits": "", "lagBuffer": "", "allowResignation": "", "resignThreshold": ""},
    ),
    scenario(
        "what is named no more",
        """
        kata-set-param maxVisits
        kata-get-param maxVisits
        kata-set-param maxTime
        kata-get-param maxTime
        kata-set-param maxPlayouts 100
        kata-set-param maxPlayouts
        kata-get-param maxPlayouts
        kata-set-param lagBuffer
        kata-get-param lagBuffer
        kata-set-param wideRootNoise 0.5
        kata-set-param wideRootNoise
        kata-get-param wideRootNoise
        kata-set-param allowResignation true
        kata-set-param allowResignation
        kata-get-param allowResignation
        kata-set-params {"ponderingEnabled":true}
        kata-set-param ponderingEnabled
        kata-get-param ponderingEnabled
        """,
    ),
    scenario(
        "moves that were not looked at",
        """
        boardsize 7
        play b C3
        play w E5
        kata-search_analyze b 1000 minmoves 9
        kata-search_analyze b 1000 minmoves 9 rootInfo true pvVisits true pvEdgeVisits true noResultValue true
        kata-search_analyze b 1000 minmoves 9 movesOwnership true movesOwnershipStdev true
        kata-search_analyze b 1000 minmoves 9 maxmoves 1
        kata-search_analyze b 1000 minmoves 9 allow b C4 1
        kata-genmove_analyze b 1000 minmoves 0
        lz-genmove_analyze w 1000 minmoves 9 maxmoves 5
        kata-analyze b 10 minmoves 9
        lz-analyze b minmoves 9 interval 10
        lz-analyze b 10 minmoves -1
        """,
        {"maxVisits": "6"},
    ),
)
