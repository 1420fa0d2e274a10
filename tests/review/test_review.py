"""From a record to a query, from answers to what each move cost, and into the table and the SGF."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import msgspec
import pytest
from fakes.reviewed_game import SGF, reviewed
from fakes.small_networks import Listener
from rich.console import Console

from agent.client import AnalysisClient, Stdio
from agent.errors import RecordUnreadable, RulesError
from agent.events import WorkshopProgress
from agent.record.sgf import parse_sgf
from agent.record.tree import main_line, parse_tree, text_of
from agent.review.annotate import annotated
from agent.review.game import Prepared, prepare, query_of
from agent.review.review import parse_turns, review_game
from agent.review.table import table
from agent.review.values import Review, score_text

TESTS = Path(__file__).resolve().parents[1]


def prepared(sgf: str, **options: object) -> Prepared:
    return prepare(parse_sgf(sgf), **options)  # type: ignore[arg-type]


# ---------------------------------------------------------------- the record as a query


def test_the_query_says_the_whole_game() -> None:
    query = query_of(prepared(SGF), (0, 6), 30)
    assert query.moves == (("B", "E5"), ("W", "C7"), ("B", "G7"), ("W", "A9"), ("B", "G3"), ("W", "pass"))
    assert (query.board_x_size, query.komi, query.turns, query.max_visits) == (9, 7.0, (0, 6), 30)
    assert isinstance(query.rules, dict) and query.rules["scoring"] == "AREA" and query.include_ownership


def test_handicap_set_up_and_stones_taken_off() -> None:
    game = prepared("(;SZ[9]KM[0.5]RU[Japanese]HA[2]AB[cc][gg][ee]AW[aa];AE[ee];AW[cc];W[ba])")
    query = query_of(game, (0,), None)
    assert query.initial_stones == (("B", "G3"), ("W", "A9"), ("W", "C7"))
    assert query.initial_player == "W" and game.positions[0].to_play == "W"
    assert game.positions[0].stones[0] == "O" and game.positions[1].played == "B9"


def test_captures_are_taken_off_the_board() -> None:
    game = prepared("(;SZ[9];B[ab];W[aa];B[ba])")
    assert game.positions[2].stones[0] == "O" and game.positions[3].stones[0] == "."


@pytest.mark.parametrize(
    ("sgf", "options", "rules", "komi", "notes"),
    [
        ("(;SZ[9]RU[Chinese]KM[7.5])", {}, "chinese", 7.5, []),
        ("(;SZ[9]KM[6.5])", {}, "japanese", 6.5, ["names no rules"]),
        ("(;SZ[9]RU[aga])", {}, "aga", 7.5, ["names no komi"]),
        ("(;SZ[9]RU[Martian]KM[6.5])", {}, "japanese", 6.5, ["'Martian' are unknown"]),
        ("(;SZ[9]RU[Martian]KM[6.5])", {"rules": "nz", "komi": 7.0}, "nz", 7.0, []),
        ("(;SZ[9]RU[Japanese]KM[5.3])", {}, "japanese", 5.5, ["5.3 was taken as 5.5"]),
        ("(;SZ[9]RU[Japanese]KM[0];B[aa];AW[bb])", {}, "japanese", 0.0, ["ends here at move 1"]),
        ("(;SZ[9]RU[Japanese]KM[0];B[aa])(;SZ[9];B[bb])", {}, "japanese", 0.0, ["holds further games"]),
    ],
)
def test_what_is_assumed_is_said(
    sgf: str, options: dict[str, object], rules: str, komi: float, notes: list[str]
) -> None:
    game = prepared(sgf, **options)
    assert (game.rules_name, game.position.komi) == (rules, komi)
    assert len(game.notes) == len(notes)
    for note, wanted in zip(game.notes, notes, strict=True):
        assert wanted in note


def test_an_illegal_move_is_named() -> None:
    with pytest.raises(RecordUnreadable, match="its move 3, Black E5, is illegal"):
        prepared("(;SZ[9];B[ee];W[cc];B[ee])")
    with pytest.raises(RulesError, match="foo"):
        prepared(SGF, rules="foo")


@pytest.mark.parametrize(
    ("text", "turns"),
    [("all", (0, 1, 2, 3, 4)), ("2", (2,)), ("3-", (3, 4)), (" 0-1, 3", (0, 1, 3)), ("4,0-1,1", (0, 1, 4))],
)
def test_turns(text: str, turns: tuple[int, ...]) -> None:
    assert parse_turns(text, 4) == turns


@pytest.mark.parametrize("text", ["", "5", "3-1", "-3", "a", "1,,2", "1-2-3", "9" * 5000])
def test_turns_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="turn"):
        parse_turns(text, 4)


# ---------------------------------------------------------------- what moves cost


def test_what_a_move_cost_is_the_difference_of_the_positions_from_its_players_side() -> None:
    review = reviewed()
    lost = [each.points_lost for each in review.positions]
    assert lost[0] is None
    assert lost[1:] == pytest.approx([-0.1, -0.2, -0.4, 9.2, 5.0, 0.2])
    assert review.positions[4].winrate_lost == pytest.approx(0.33)
    assert [each.turn for each in review.mistakes] == [4, 5]


def test_a_turn_without_analysis_costs_nothing_known() -> None:
    review = reviewed(without=(4,))
    assert [each.points_lost is None for each in review.positions] == [True, False, False, False, True, True, False]
    assert review.mistakes == ()


def test_a_move_out_of_turn_has_no_cost_and_nothing_of_the_other_sides_is_better() -> None:
    """Black's second stone, as servers write a handicap, and White's second move after a pass that was left out."""
    sgf = "(;SZ[9]KM[7]RU[Chinese];B[ee];B[cc];W[gc];W[aa];B[gg];W[])"
    review = reviewed(sgf)
    assert [each.points_lost is None for each in review.positions] == [True, False, True, False, True, False, False]
    assert all(each.winrate_lost is None for each in review.positions if each.points_lost is None)
    assert [best and best.move for best in map(review.best_instead, review.positions)] == [
        *(None, "E5", None, "G3", None, "C3", "pass")
    ]
    # The fourth, which seems to cost nine points, was White's where Black was to move.
    assert [each.turn for each in review.mistakes] == [5]
    line = main_line(parse_tree(annotated(sgf.encode(), review)))
    for turn in (2, 4):
        comment = text_of(line[turn], "C")
        assert comment.startswith("Black's win rate") and "cost" not in comment and "Better" not in comment
        assert len(line[turn - 1].children) == 1
    out = io.StringIO()
    Console(file=out, width=80).print(table(review))
    rows = {cells[0]: cells for cells in map(str.split, out.getvalue().splitlines()) if cells and cells[0].isdigit()}
    assert rows["2"] == ["2", "●", "C7", "44.0%", "W+0.6"] and rows["3"][-1] == "G3"


def test_a_review_survives_json() -> None:
    review = reviewed()
    assert msgspec.json.decode(msgspec.json.encode(review), type=Review) == review


def test_scores_in_words() -> None:
    assert [score_text(lead) for lead in (3.46, -0.2, 0.04, -0.04)] == ["B+3.5", "W+0.2", "even", "even"]


# ---------------------------------------------------------------- an engine's answers


def test_an_engine_is_asked_once_and_progress_is_told() -> None:
    command = [sys.executable, str(TESTS / "fakes" / "analysis_child.py"), "well"]
    environment = {"PYTHONPATH": f"{TESTS}:{TESTS.parent}", "PATH": "/usr/bin:/bin"}
    game, listener = prepared(SGF), Listener()
    with AnalysisClient(Stdio(command, environment)) as client:
        review = review_game(client, parse_sgf(SGF), game, (0, 2, 6), 10, listener)
    assert [each.evaluation is not None for each in review.positions] == [turn in (0, 2, 6) for turn in range(7)]
    assert (review.engine, review.black, review.white) == ("9.99", "Lee", "Go Seigen")
    assert [(each.done, each.total) for each in listener.events if isinstance(each, WorkshopProgress)] == [
        (0, 3),
        (1, 3),
        (2, 3),
        (3, 3),
    ]


def test_what_somebody_terminated_is_told() -> None:
    command = [sys.executable, str(TESTS / "fakes" / "analysis_child.py"), "skips"]
    environment = {"PYTHONPATH": f"{TESTS}:{TESTS.parent}", "PATH": "/usr/bin:/bin"}
    with AnalysisClient(Stdio(command, environment)) as client:
        review = review_game(client, parse_sgf(SGF), prepared(SGF), (0, 2, 6), 10, Listener())
    assert [each.evaluation is not None for each in review.positions] == [turn in (0, 2) for turn in range(7)]
    assert review.notes == ("Turns that somebody terminated before the engine looked at them: 6.",)


# ---------------------------------------------------------------- table and SGF


def test_the_table_fits_a_terminal_and_says_what_was_better() -> None:
    out = io.StringIO()
    Console(file=out, width=80).print(table(reviewed(without=(1,))))
    lines = out.getvalue().splitlines()
    assert "Lee – Go Seigen" in lines[0] and all(len(line) <= 80 for line in lines)
    blunder = next(line for line in lines if line.split()[:1] == ["4"])
    assert blunder.split() == ["4", "○", "A9", "80.0%", "B+9.0", "9.2", "33.0%", "G3"]
    assert not any(line.split()[:1] == ["1"] for line in lines)
    assert "White lost" in out.getvalue() and "…" not in out.getvalue()


def test_the_record_is_kept_and_gets_comments_win_rates_and_better_variations() -> None:
    review = reviewed()
    written = annotated(SGF.encode(), review)
    root = parse_tree(written)
    line = main_line(root)
    assert parse_sgf(written).moves == parse_sgf(SGF).moves
    assert text_of(root, "C").startswith("a game\n\nBlack's win rate 45.0%, score W+0.5 (50 visits)")
    assert text_of(line[3], "C").startswith("bold\n\n") and "The best move" not in text_of(line[3], "C")
    assert [text_of(node, "SBKV") for node in line] == ["45.00", "46.00", "44.00", "47.00", "80.00", "70.00", "71.00"]
    comment = text_of(line[4], "C")
    assert "A9 cost 9.2 points and 33.0% of win rate." in comment and "Better: G3 (W+0.2, 47.0% for Black)" in comment
    # Instead of the blunder, and instead of what gave half of it back, beside the variation that was there.
    assert [text_of(child, "W") for child in line[3].children] == ["aa", "gg"]
    assert [text_of(child, "B") for child in line[4].children] == ["gg", "cg", "cg"]
    assert [
        text_of(node, "W" if index % 2 else "B") for index, node in enumerate(main_line(line[3].children[1])[:3], 1)
    ] == [
        "gg",
        "gc",
        "ce",
    ]
    # Only a mistake gets a variation.
    assert len(line[0].children) == len(line[1].children) == len(line[2].children) == 1


def test_annotating_twice_is_possible_and_odd_nodes_are_no_trouble() -> None:
    sgf = "(;SZ[9]KM[7]RU[Chinese];C[no move here];B[ee];W[cc];B[gc]W[aa];B[gg];W[tt];AB[ab];B[hh])"
    review = reviewed(sgf)
    written = annotated(annotated(sgf.encode(), review).encode(), review)
    line = main_line(parse_tree(written))
    assert text_of(line[1], "C") == "no move here" and text_of(line[-1], "C") == ""
    assert [text_of(node, "SBKV") for node in line if text_of(node, "SBKV")] == [
        "45.00",
        "46.00",
        "44.00",
        "80.00",
        "70.00",
        "71.00",
    ]


def test_a_comment_with_brackets_is_kept_whole() -> None:
    said = r"Alice [3k\] [away\]: \\o/"
    sgf = SGF.replace("C[a game]", f"C[{said}]").replace("C[bold]", f"C[{said}][and more]")
    line = main_line(parse_tree(annotated(sgf.encode(), reviewed())))
    meant = r"Alice [3k] [away]: \o/"
    assert text_of(line[0], "C").startswith(f"{meant}\n\nBlack's win rate")
    assert text_of(line[3], "C").startswith(f"{meant}\n\nand more\n\nBlack's win rate")


def test_a_turn_that_was_not_analysed_gets_no_comment() -> None:
    line = main_line(parse_tree(annotated(SGF.encode(), reviewed(without=(2, 3)))))
    assert text_of(line[2], "C") == "" and text_of(line[3], "C") == "bold" and text_of(line[3], "SBKV") == ""
    assert "cost" not in text_of(line[4], "C")
