"""Matches: paired openings, equal visits, batches, ends of games, and that a killed match goes on."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from fakes.backends import NanBackend, RaisingBackend
from fakes.match_child import KEY, KILLED_AT, OPTIONS
from fakes.opinions import INFO, OpinionsBackend

from agent.engine.backends.interface import Array, Backend, Outputs
from agent.engine.backends.uniform import UniformBackend
from agent.engine.game import Game
from agent.engine.points import BLACK, WHITE
from agent.engine.raw import OutputNotFinite
from agent.engine.rules import parse_rules
from agent.errors import BackendUnavailable, CalibrationError, GateRefused, JournalUnusable
from agent.events import Event, SilentReporter, WorkshopProgress
from agent.export.artifact import ArtifactManifest, digest, read_artifact, write_manifest
from agent.workshop.elo import elo_of_pairs
from agent.workshop.match import MatchOptions, MatchResult, PlayedGame, identity, play_match, record_match
from agent.workshop.opening import OpenedNetwork
from agent.workshop.openings import KOMI, RULES, opening

ROOT = Path(__file__).resolve().parents[2]
SMALL = MatchOptions(games=8, visits=4, size=5, seed=1, games_at_once=4)


class Keeper:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def report(self, event: Event) -> None:
        self.events.append(event)


def play(tmp_path: Path, first: Backend, second: Backend, options: MatchOptions = SMALL) -> MatchResult:
    return play_match(first, second, options, tmp_path / "match.jsonl", KEY, SilentReporter())


def knowing(outputs: Outputs, spatial: Array, global_: Array) -> Outputs:
    """Sees who is ahead: stones of either side, and komi."""
    lead = spatial[:, 1].sum(axis=(1, 2)) - spatial[:, 2].sum(axis=(1, 2)) + 20 * global_[:, 5]
    value = np.stack([lead, -lead, np.full_like(lead, -9)], axis=1).astype(np.float32)
    return outputs._replace(value=value, policy=outputs.policy * 0)


# ---------------------------------------------------------------- openings


def test_openings_are_different_balanced_and_the_same_for_a_seed() -> None:
    known: set[tuple[int, ...]] = set()
    backend = OpinionsBackend()
    drawn = [opening(backend, 9, 1, pair, known) for pair in range(6)]
    assert len({position.moves for position in drawn}) == len(known) == 6
    assert [opening(backend, 9, 1, pair, set()) for pair in range(3)] == drawn[:3]
    assert opening(backend, 9, 2, 0, set()) != drawn[0]
    for position in drawn:
        assert 4 <= len(position.moves) <= 6 and position.komi == KOMI and position.rules == parse_rules(RULES)
        assert all(point < 81 for _, point in position.moves)
        Game.from_position(position)


def test_where_openings_run_out_one_is_played_again() -> None:
    known: set[tuple[int, ...]] = set()
    drawn = [opening(OpinionsBackend(), 1, 1, pair, known) for pair in range(3)]
    assert len(drawn) == 3 and len(known) == 1


def test_a_network_that_says_no_numbers_makes_no_opening() -> None:
    with pytest.raises(CalibrationError, match="not finite"):
        opening(NanBackend(), 9, 1, 0, set())


# ---------------------------------------------------------------- games


def test_each_opening_is_played_with_both_colours_and_every_move_is_legal(tmp_path: Path) -> None:
    result = play(tmp_path, OpinionsBackend(1), OpinionsBackend(2))
    assert [(game.pair, game.first_is_black) for game in result.games] == [
        (pair, black) for pair in range(4) for black in (False, True)
    ]
    backend, known = OpinionsBackend(2), set[tuple[int, ...]]()
    for pair in range(4):
        start = opening(backend, 5, 1, pair, known)
        for played in result.games[2 * pair : 2 * pair + 2]:
            game = Game.from_position(start)
            assert played.moves[: len(start.moves)] == tuple(point for _, point in start.moves)
            for point in played.moves[len(start.moves) :]:
                assert game.is_legal(game.to_play, point)
                game.play(game.to_play, point)
            if played.end == "score":
                assert game.finished and game.final_white_score() == played.white_score
                winner = None if played.white_score == 0 else WHITE if played.white_score > 0 else BLACK
                first = BLACK if played.first_is_black else WHITE
                assert played.score == (0.5 if winner is None else float(winner == first))
    assert result.elo == elo_of_pairs([[game.score for game in result.games if game.pair == pair] for pair in range(4)])


def test_the_one_who_sees_who_is_ahead_wins(tmp_path: Path) -> None:
    options = MatchOptions(games=6, visits=24, size=5)
    blind = UniformBackend()
    result = play(tmp_path, OpinionsBackend(change=knowing), blind, options)
    assert result.elo.wins >= 5 and result.elo.elo > 100
    other = play_match(blind, OpinionsBackend(change=knowing), options, tmp_path / "other.jsonl", KEY, SilentReporter())
    assert other.elo.losses >= 5 and other.elo.elo < -100


def test_evaluations_come_in_batches_of_the_games_that_wait(tmp_path: Path) -> None:
    first, second = OpinionsBackend(1), OpinionsBackend(2)
    result = play(tmp_path, first, second, replace(SMALL, games=16, games_at_once=16, visits=8))
    moves = [size for backend in (first, second) for size in backend.batches]
    assert max(first.batches) >= 6 and result.evaluations <= sum(moves)
    assert np.mean(first.batches) > 2


def test_threads_change_nothing_in_the_games(tmp_path: Path) -> None:
    one = play(tmp_path, OpinionsBackend(1), OpinionsBackend(2))
    two = play_match(
        *(OpinionsBackend(1), OpinionsBackend(2)),
        *(replace(SMALL, threads=2), tmp_path / "two.jsonl", KEY, SilentReporter()),
    )
    assert one.games == two.games


def test_a_hopeless_game_is_given_up_only_when_both_agree(tmp_path: Path) -> None:
    def sure(outputs: Outputs, spatial: Array, global_: Array) -> Outputs:
        # White is sure to win, whoever is to move: komi is positive for White.
        sign = np.where(global_[:, 5:6] > 0, 9.0, -9.0)
        return outputs._replace(value=(sign * [[1.0, -1.0, 0.0]] - [[0.0, 0.0, 50.0]]).astype(np.float32))

    both = play(tmp_path, OpinionsBackend(1, change=sure), OpinionsBackend(2, change=sure))
    assert Counter(game.end for game in both.games) == {"resign": 8} and both.elo.score == 0.5
    lone = play_match(
        *(OpinionsBackend(1, change=sure), OpinionsBackend(2)),
        *(SMALL, tmp_path / "lone.jsonl", KEY, SilentReporter()),
    )
    assert all(game.end != "resign" for game in lone.games)


@pytest.mark.parametrize(
    ("backend", "error"),
    [(NanBackend(), OutputNotFinite), (RaisingBackend(BackendUnavailable("it broke")), BackendUnavailable)],
)
def test_a_player_that_breaks_ends_the_match_and_keeps_its_games(
    tmp_path: Path, backend: Backend, error: type[Exception]
) -> None:
    with pytest.raises(error):
        play(tmp_path, backend, OpinionsBackend())
    assert (tmp_path / "match.jsonl").read_text().count("\n") == 1


# ---------------------------------------------------------------- a match that goes on


def test_a_killed_match_goes_on_with_the_games_that_are_missing(tmp_path: Path) -> None:
    journal = tmp_path / "match.jsonl"
    environment = {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "PATH": ""}
    command = [sys.executable, "-m", "fakes.match_child", str(journal)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, cwd=tmp_path) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if json.loads(line)["done"] >= KILLED_AT:
                child.send_signal(signal.SIGKILL)
                break
        child.wait(60)
    kept = [msgspec.json.decode(line, type=PlayedGame) for line in journal.read_bytes().splitlines()[1:]]
    assert KILLED_AT <= len(kept) < 8
    keeper = Keeper()
    result = play_match(OpinionsBackend(1), OpinionsBackend(2), OPTIONS, journal, KEY, keeper)
    assert len(result.games) == 8 and all(game in result.games for game in kept)
    counts = [event.done for event in keeper.events if isinstance(event, WorkshopProgress)]
    assert counts == list(range(len(kept), 9))
    uninterrupted = play_match(
        OpinionsBackend(1), OpinionsBackend(2), OPTIONS, tmp_path / "whole.jsonl", KEY, SilentReporter()
    )
    assert {(game.pair, game.moves[:2]) for game in uninterrupted.games} == {
        (game.pair, game.moves[:2]) for game in result.games
    }


def test_a_longer_match_keeps_the_games_of_the_shorter(tmp_path: Path) -> None:
    short = play(tmp_path, OpinionsBackend(1), OpinionsBackend(2), replace(SMALL, games=4))
    counted = OpinionsBackend(1)
    long = play(tmp_path, counted, OpinionsBackend(2))
    assert long.games[:4] == short.games and len(long.games) == 8
    assert play(tmp_path, counted, OpinionsBackend(2), replace(SMALL, games=4)).games == short.games


@pytest.mark.parametrize(("visits", "key"), [(5, KEY), (4, "one against three")])
def test_the_games_of_another_match_are_left_alone(tmp_path: Path, visits: int, key: str) -> None:
    play(tmp_path, OpinionsBackend(1), OpinionsBackend(2), replace(SMALL, games=2))
    before = (tmp_path / "match.jsonl").read_bytes()
    options = replace(SMALL, games=2, visits=visits)
    with pytest.raises(JournalUnusable, match="of other work"):
        play_match(OpinionsBackend(1), OpinionsBackend(2), options, tmp_path / "match.jsonl", key, SilentReporter())
    assert (tmp_path / "match.jsonl").read_bytes() == before


# ---------------------------------------------------------------- the manifest


def test_figures_are_written_beside_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "network.int8.onnx"
    path.write_bytes(b"weights")
    manifest = ArtifactManifest(
        file=path.name,
        format="onnx-int8",
        size_bytes=7,
        sha256=digest(path),
        network=INFO,
        board_sizes="1x1 to 19x19",
        tools={},
        gate="passed",
    )
    artifact = write_manifest(path, manifest)
    elo = elo_of_pairs([(1.0, 0.0), (0.5, 1.0)])
    for games in (4, 4, 6):
        after = record_match(artifact, "fp32", MatchOptions(games, 32, 9 if games == 4 else 13), elo)
    assert [(each.board, each.visits, each.games) for each in after.manifest.matches] == [
        ("9x9", 32, 4),
        ("13x13", 32, 4),
    ]
    assert after.manifest.gate == "passed" and after.manifest.matches[0].elo_low < after.manifest.matches[0].elo
    path.write_bytes(b"another")
    write_manifest(path, msgspec.structs.replace(manifest, sha256=digest(path)))
    with pytest.raises(GateRefused, match="replaced"):
        record_match(artifact, "fp32", MatchOptions(4, 32, 9), elo)
    now = read_artifact(path)
    assert now is not None and now.manifest.matches == ()


def test_a_human_style_network_is_another_player_where_it_imitates_somebody_else(tmp_path: Path) -> None:
    path = tmp_path / "human.bin.gz"
    path.write_bytes(b"weights")
    backend = OpinionsBackend()
    assert identity(OpenedNetwork(backend, "human", path, None)) == f"human {digest(path)}"
    backend.network = msgspec.structs.replace(INFO, human_profile="rank_9d")
    assert identity(OpenedNetwork(backend, "human", path, None)) == f"human {digest(path)} as rank_9d"


def test_a_player_whose_file_changed_since_its_export_is_refused(tmp_path: Path) -> None:
    """Its result would go into the manifest of what it was."""
    path = tmp_path / "network.int8.onnx"
    path.write_bytes(b"weights")
    manifest = ArtifactManifest(path.name, "onnx-int8", 7, digest(path), INFO, "1x1 to 19x19", {})
    player = OpenedNetwork(OpinionsBackend(), "int8", path, write_manifest(path, manifest))
    assert identity(player) == f"int8 {manifest.sha256}"
    path.write_bytes(b"weighty")
    with pytest.raises(GateRefused, match="not the file that its manifest names"):
        identity(player)
