"""Rules by example, one board each; and what `Game` says to numbers that make no sense."""

from __future__ import annotations

import pytest
from fakes.diagrams import drawn, game_of, point_of, tidy

from agent.engine.game import Game
from agent.engine.messages import Position
from agent.engine.points import BLACK, WHITE, parse_color, parse_vertex
from agent.engine.rules import Rules, parse_rules
from agent.errors import IllegalMove, RulesError

JAPANESE = parse_rules("japanese")
CHINESE = parse_rules("chinese")


def play_all(game: Game, moves: str, *, prevent_encore: bool = True) -> None:
    """Play moves such as "B A1 W pass"."""
    words = moves.split()
    for player, vertex in zip(words[::2], words[1::2], strict=True):
        color, point = parse_color(player), parse_vertex(vertex, game.x_size, game.y_size)
        assert color is not None and point is not None
        game.play(color, point, prevent_encore=prevent_encore)


# ---------------------------------------------------------------- stones


def test_chains_on_all_sides_are_captured_at_once() -> None:
    board = """
        . X O X .
        X O a O X
        . X O X .
        . . X . .
    """
    game = game_of(board)
    game.play(BLACK, point_of(board, "a"))
    expected = """
        . X . X .
        X . X . X
        . X . X .
        . . X . .
    """
    assert drawn(game.stones(), 5) == tidy(expected)
    assert game.captures == (0, 4)


def test_several_stones_may_commit_suicide_where_the_rules_allow_it() -> None:
    board = """
        a X O
        X O .
        O . .
    """
    point = point_of(board, "a")
    assert not game_of(board, Rules(suicide=False)).is_legal(BLACK, point)
    game = game_of(board, Rules(suicide=True))
    assert game.is_legal(BLACK, point)
    game.play(BLACK, point)
    gone = """
        . . O
        . O .
        O . .
    """
    assert drawn(game.stones(), 3) == tidy(gone)
    assert game.captures == (3, 0)


def test_one_stone_may_never_commit_suicide() -> None:
    board = """
        a O .
        O . .
    """
    game = game_of(board, Rules(suicide=True))
    assert not game.is_playable(BLACK, point_of(board, "a"))
    assert not game.is_legal_ignoring_ko(BLACK, point_of(board, "a"), multi_stone_suicide=True)
    assert game.is_legal_ignoring_ko(WHITE, point_of(board, "a"), multi_stone_suicide=False)


def test_a_ko_may_not_be_retaken_at_once() -> None:
    board = """
        . X O .
        X O k O
        . X O .
    """
    game = game_of(board, CHINESE)
    game.play(BLACK, point_of(board, "k"))
    taken = point_of(board, "k") - 1
    assert game.ko_point == taken
    assert not game.is_legal(WHITE, taken)
    play_all(game, "W pass B pass")
    assert game.ko_point is None
    assert game.is_legal(WHITE, taken)


# On one row every capture gives the stone back soon; the eighth move has made the fourth one's position again.
CYCLE = "B B1 W D1 B A1 W C1 B B1 W D1 B A1 W C1 B B1"


def test_simple_ko_makes_a_position_that_comes_for_the_third_time_void() -> None:
    game = Game(4, 1, Rules(ko="SIMPLE", suicide=False), komi=0.5)
    play_all(game, CYCLE)
    assert game.finished and game.no_result
    assert game.final_white_score() == 0


@pytest.mark.parametrize("ko", ["POSITIONAL", "SITUATIONAL"])
def test_superko_forbids_the_cycle(ko: str) -> None:
    game = Game(4, 1, Rules(ko=ko, suicide=False), komi=0.5)
    play_all(game, "B B1 W D1 B A1 W C1")
    assert not game.is_legal(BLACK, 1)
    assert game.is_playable(BLACK, 1)


def test_a_position_has_one_hash_by_whatever_order_of_moves() -> None:
    first, second = Game(9, 9), Game(9, 9)
    play_all(first, "B C3 W G7 B C7 W G3")
    play_all(second, "B C7 W G3 B C3 W G7")
    assert first.hash == second.hash
    assert len(first.hash) == 32
    play_all(second, "B pass")
    assert first.hash != second.hash


# ---------------------------------------------------------------- the end of games


def test_two_passes_end_a_game_under_area_scoring() -> None:
    board = """
        . X O . .
        X X O . O
        . X O O .
    """
    game = game_of(board, CHINESE, komi=7.5)
    play_all(game, "B pass W pass")
    assert game.finished
    # 6 points against 9, komi.
    assert game.final_white_score() == 9 - 6 + 7.5
    owners = """
        X X O O O
        X X O O O
        X X O O O
    """
    assert drawn(game.final_area(), 5) == tidy(owners)


def test_a_tax_on_all_takes_two_points_for_every_living_group() -> None:
    two_black_groups = """
        . X . X O . . O
        X X X X O . O O
        O O O O O O . O
        . X . X O . O O
        X X X X O O . O
    """
    untaxed = game_of(two_black_groups, Rules(tax="SEKI")).final_white_score()
    taxed = game_of(two_black_groups, Rules(tax="ALL")).final_white_score()
    assert taxed == untaxed - 2 + 4


def test_a_tax_on_seki_takes_the_eyes_there() -> None:
    seki = ". X . O ."
    assert drawn(game_of(seki, Rules(tax="NONE")).final_area(), 5) == "X X . O O"
    assert drawn(game_of(seki, Rules(tax="SEKI")).final_area(), 5) == seki
    territory = Rules(scoring="TERRITORY", tax="SEKI")
    assert game_of(seki, territory).final_white_score() == 0


def test_territory_scoring_enters_two_encores_and_then_ends() -> None:
    game = Game(5, 5, JAPANESE, komi=6.5)
    play_all(game, "B C3 W pass B pass", prevent_encore=False)
    assert game.state().encore_phase == 1
    play_all(game, "W pass B pass", prevent_encore=False)
    assert game.state().encore_phase == 2
    assert not game.finished
    play_all(game, "W pass B pass", prevent_encore=False)
    assert game.finished
    # 25 points of area, one stone played.
    assert game.final_white_score() == -25 + 1 + 6.5


def test_the_encore_can_be_kept_out() -> None:
    game = Game(5, 5, JAPANESE, komi=6.5)
    play_all(game, "B C3 W pass B pass W pass B pass")
    assert game.state().encore_phase == 0
    assert not game.finished
    assert game.state().past_phase_end


def test_in_the_encore_a_pass_for_ko_must_come_before_retaking() -> None:
    board = """
        . X O .
        X O k O
        . X O .
    """
    game = game_of(board, JAPANESE)
    play_all(game, "B pass W pass", prevent_encore=False)
    assert game.state().encore_phase == 1
    stone = point_of(board, "k")
    taken = stone - 1
    game.play(BLACK, stone, prevent_encore=False)
    before = game.stones()
    # White's move into the ko lifts the block and leaves the board as it is.
    assert game.is_legal(WHITE, taken)
    game.play(WHITE, taken, prevent_encore=False)
    assert game.stones() == before
    game.play(BLACK, game.area, prevent_encore=False)
    game.play(WHITE, taken, prevent_encore=False)
    assert game.stones()[taken] == WHITE and game.stones()[stone] == 0
    # And Black may take this ko in this position only once.
    game.play(BLACK, stone, prevent_encore=False)
    game.play(WHITE, game.area, prevent_encore=False)
    assert game.stones()[stone] == 0


def test_the_first_pass_takes_the_button() -> None:
    game = Game(5, 5, parse_rules("aga-button"), komi=7.0)
    play_all(game, "B C3 W pass")
    assert not game.state().has_button
    play_all(game, "B pass")
    assert not game.finished
    play_all(game, "W pass")
    assert game.finished
    assert game.final_white_score() == -25 + 7.0 + 0.5


@pytest.mark.parametrize(("rule", "bonus"), [("0", 0), ("N", 3), ("N-1", 2)])
def test_white_is_paid_for_handicap_stones(rule: str, bonus: int) -> None:
    rules = Rules(white_handicap_bonus=rule)
    placed = Game(9, 9, rules, komi=0.5)
    placed.add_stones([(BLACK, 20), (BLACK, 24), (BLACK, 60)])
    assert placed.state().handicap_bonus == bonus
    played = Game(9, 9, rules, komi=0.5)
    play_all(played, "B C3 W pass B G7 W pass B C7 W G3")
    assert played.state().handicap_bonus == bonus
    empty = Game(9, 9, rules, komi=0.5)
    play_all(empty, "B C3 W G7")
    assert empty.state().handicap_bonus == 0


def test_dead_stones_in_a_pass_alive_area_belong_to_its_owner() -> None:
    board = """
        . X . X O . .
        X X X X O . .
        O O X O X . .
        . O X X X X X
        O . X . X . X
    """
    alive = """
        X X X X . . .
        X X X X . . .
        . . X X X . .
        . . X X X X X
        . . X X X X X
    """
    game = game_of(board, Rules(suicide=False))
    assert drawn(game.pass_alive_area(), 7) == tidy(alive)


# ---------------------------------------------------------------- positions and mistakes


def test_a_position_is_replayed() -> None:
    position = Position(9, 9, CHINESE, 7.5, moves=((BLACK, 40), (WHITE, 41), (BLACK, 81)))
    game = Game.from_position(position)
    assert game.to_play == WHITE == position.to_play
    assert game.stones()[40] == BLACK
    handicap = Position(9, 9, CHINESE, 7.5, initial_stones=((BLACK, 20), (BLACK, 60)), initial_player=WHITE)
    assert Game.from_position(handicap).to_play == WHITE


def test_stones_are_set_up_as_katago_does() -> None:
    """A stone without liberties is accepted: it is not placed; one that takes the last liberty captures."""
    game = Game(3, 3)
    game.add_stones([(BLACK, 1), (BLACK, 3), (WHITE, 0)])
    assert drawn(game.stones(), 3) == tidy(". X .\nX . .\n. . .")
    game.add_stones([(WHITE, 2), (WHITE, 4)])
    assert drawn(game.stones(), 3) == tidy(". X O\nX O .\n. . .")
    game.add_stones([(WHITE, 0)])
    assert drawn(game.stones(), 3) == tidy("O . O\nX O .\n. . .")
    assert game.captures == (1, 0)


def test_a_move_out_of_turn_starts_the_history_anew() -> None:
    game = Game(9, 9)
    play_all(game, "B C3 B D3")
    assert game.to_play == WHITE
    assert game.state().move_count == 1
    assert game.stones().count(BLACK) == 2


def test_a_copy_goes_its_own_way() -> None:
    game = Game(9, 9)
    play_all(game, "B C3")
    other = game.copy()
    play_all(other, "W D4")
    assert game.to_play == WHITE and other.to_play == BLACK
    assert game.stones().count(WHITE) == 0


def test_an_illegal_move_of_a_position_is_named_as_katago_names_it() -> None:
    position = Position(9, 9, CHINESE, 7.5, moves=((BLACK, 40), (WHITE, 40)))
    with pytest.raises(IllegalMove, match=r"^Illegal move 1: E5$"):
        Game.from_position(position)


@pytest.mark.parametrize("size", [(0, 9), (9, 0), (20, 19), (19, 20), (-1, 5), (2**32 + 9, 9)])
def test_sizes_outside_1_to_19_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="1 to 19"):
        Game(*size)


@pytest.mark.parametrize("komi", [float("nan"), float("inf"), float("-inf")])
def test_komi_must_be_a_number(komi: float) -> None:
    with pytest.raises(ValueError, match="komi"):
        Game(9, 9, komi=komi)
    with pytest.raises(ValueError, match="komi"):
        Game(9, 9).set_komi(komi)


@pytest.mark.parametrize("point", [-1, 82, 361, 2**31, 2**32 + 5, -(2**40)])
def test_points_off_the_board_are_illegal(point: int) -> None:
    game = Game(9, 9)
    with pytest.raises(IllegalMove, match=str(point)):
        game.play(BLACK, point)
    assert not game.is_legal(BLACK, point)
    assert not game.is_playable(BLACK, point)
    assert not game.is_legal_ignoring_ko(BLACK, point, multi_stone_suicide=True)
    with pytest.raises(ValueError, match=str(point)):
        game.add_stones([(BLACK, 0), (BLACK, point)])
    assert game.stones().count(BLACK) == 0


@pytest.mark.parametrize("color", [0, 3, -1, 2**32 + 1])
def test_colours_that_are_no_player_cannot_move(color: int) -> None:
    game = Game(9, 9)
    with pytest.raises(IllegalMove):
        game.play(color, 0)
    assert not game.is_legal(color, 0)
    assert game.legal_moves(color) == ()
    with pytest.raises(ValueError, match="player"):
        game.restart(color)


def test_the_pass_is_no_place_for_a_stone() -> None:
    with pytest.raises(ValueError, match="81"):
        Game(9, 9).add_stones([(BLACK, 81)])


def test_rules_with_unknown_values_are_refused() -> None:
    with pytest.raises(RulesError, match="EVERYTHING"):
        Game(9, 9, Rules(ko="EVERYTHING"))


def test_the_smallest_board() -> None:
    game = Game(1, 1)
    assert game.legal_moves(BLACK) == (1,)
    with pytest.raises(IllegalMove):
        game.play(BLACK, 0)
    play_all(game, "B pass W pass")
    assert game.finished
