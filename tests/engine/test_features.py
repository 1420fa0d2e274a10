"""Feature planes as diagrams (1 is set), with KataGo's numbers. The corners are covered by the golden positions."""

from __future__ import annotations

import numpy as np
import pytest
from fakes.diagrams import game_of, point_of, tidy

from agent.engine.backends.interface import Array
from agent.engine.game import Game
from agent.engine.points import BLACK, WHITE
from agent.engine.raw import encode
from agent.engine.rules import Rules, parse_rules

KO_FIGHT = """
    . X O . .
    X O k O .
    . X O . .
    . . . . .
"""


def plane(game: Game, feature: int, player: int = BLACK, symmetry: int = 0) -> str:
    spatial, _ = encode(game, player, symmetry)
    return drawn_plane(spatial[feature])


def drawn_plane(values: Array) -> str:
    return "\n".join(" ".join("1" if value else "." for value in row) for row in values)


def test_stones_and_liberties() -> None:
    game = game_of(KO_FIGHT)
    planes = {
        0: "1 1 1 1 1\n1 1 1 1 1\n1 1 1 1 1\n1 1 1 1 1",
        1: ". 1 . . .\n1 . . . .\n. 1 . . .\n. . . . .",
        2: ". . 1 . .\n. 1 . 1 .\n. . 1 . .\n. . . . .",
        3: ". 1 . . .\n. 1 . . .\n. . . . .\n. . . . .",
        4: ". . 1 . .\n1 . . . .\n. 1 . . .\n. . . . .",
        5: ". . . . .\n. . . . .\n. . 1 . .\n. . . . .",
    }
    for feature, expected in planes.items():
        assert plane(game, feature) == expected, feature
    assert plane(game, 1, WHITE) == planes[2]
    assert plane(game, 2, WHITE) == planes[1]


def test_a_ko_is_marked_where_it_may_not_be_taken() -> None:
    game = game_of(KO_FIGHT, parse_rules("chinese"))
    game.play(BLACK, point_of(KO_FIGHT, "k"))
    assert plane(game, 6, WHITE) == tidy(". . . . .\n. 1 . . .\n. . . . .\n. . . . .")


def test_the_last_five_moves() -> None:
    game = Game(3, 3)
    for color, point in ((BLACK, 0), (WHITE, 1), (BLACK, 2), (WHITE, 9), (BLACK, 4), (WHITE, 8)):
        game.play(color, point)
    spatial, global_ = encode(game, BLACK, 0)
    moved = [[int(p) for p in np.flatnonzero(spatial[feature])] for feature in range(9, 14)]
    assert moved == [[8], [4], [], [2], [1]]
    assert [int(passed) for passed in global_[:5]] == [0, 0, 1, 0, 0]


def test_ladders_now_and_before() -> None:
    board = """
        . . . . . . .
        . . X X . . .
        . X O . . . .
        . . . . . . .
        . . . . . . .
        . . . . . w .
        . . . . . . .
    """
    stone = ". . . . . . .\n. . . . . . .\n. . 1 . . . .\n" + "\n".join([". . . . . . ."] * 4)
    move = ". . . . . . .\n. . . . . . .\n. . . . . . .\n. . 1 . . . .\n" + "\n".join([". . . . . . ."] * 3)
    nothing = "\n".join([". . . . . . ."] * 7)
    game = game_of(board, to_play=WHITE)
    assert [plane(game, feature, WHITE) for feature in (14, 15, 16)] == [stone] * 3
    assert plane(game, 17, WHITE) == nothing
    game.restart(BLACK)
    assert plane(game, 17, BLACK) == move
    game.restart(WHITE)
    game.play(WHITE, point_of(board, "w"))
    assert [plane(game, feature) for feature in (14, 15, 16, 17)] == [nothing, stone, stone, nothing]


def test_area_for_area_scoring_only() -> None:
    board = """
        . X O . .
        X X O . O
        . X O O .
    """
    own, other = "1 1 . . .\n1 1 . . .\n1 1 . . .", ". . 1 1 1\n. . 1 1 1\n. . 1 1 1"
    assert [plane(game_of(board, Rules()), feature) for feature in (18, 19)] == [own, other]
    nothing = "\n".join([". . . . ."] * 3)
    assert [plane(game_of(board, parse_rules("japanese")), feature) for feature in (18, 19)] == [nothing, nothing]


def test_global_numbers_of_rules() -> None:
    _, tromp_taylor = encode(Game(9, 9, Rules(), komi=7.5), WHITE, 0)
    assert tromp_taylor[5:].tolist() == pytest.approx([7.5 / 20, 1, 0.5, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0.5])
    japanese = Game(9, 9, parse_rules("japanese"), komi=6.5)
    _, numbers = encode(japanese, BLACK, 0)
    assert numbers[5:].tolist() == pytest.approx([-6.5 / 20, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0])
    japanese.play(BLACK, 0)
    _, numbers = encode(japanese, WHITE, 0)
    assert numbers[5] == pytest.approx(7.5 / 20)
    _, button = encode(Game(9, 9, parse_rules("aga-button"), komi=7.0), BLACK, 0)
    assert button[17] == 1


def test_a_pass_that_ends_the_game() -> None:
    game = Game(9, 9, Rules())
    game.play(BLACK, 81)
    _, numbers = encode(game, WHITE, 0)
    assert numbers[0] == 1 and numbers[14] == 1
    friendly = Game(9, 9, Rules(friendly_pass_ok=True))
    friendly.play(BLACK, 81)
    _, numbers = encode(friendly, WHITE, 0)
    assert numbers[0] == 0 and numbers[14] == 0


@pytest.mark.parametrize("symmetry", range(8))
def test_symmetries_turn_every_plane(symmetry: int) -> None:
    """Bit 0 mirrors rows, bit 1 columns, bit 2 transposes what results."""
    game = game_of(KO_FIGHT)
    game.play(BLACK, point_of(KO_FIGHT, "k"))
    straight, numbers = encode(game, WHITE, 0)
    turned, same_numbers = encode(game, WHITE, symmetry)
    expected = straight
    if symmetry & 1:
        expected = expected[:, ::-1, :]
    if symmetry & 2:
        expected = expected[:, :, ::-1]
    if symmetry & 4:
        expected = expected.transpose(0, 2, 1)
    assert np.array_equal(turned, expected)
    assert np.array_equal(numbers, same_numbers)


def test_what_cannot_be_encoded_is_refused() -> None:
    for player, symmetry in ((0, 0), (3, 0), (BLACK, 8), (BLACK, -1)):
        with pytest.raises(ValueError, match="cannot be encoded"):
            encode(Game(9, 9), player, symmetry)
