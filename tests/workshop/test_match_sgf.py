"""The records of a match's games, read back as any program reads them, and where openings come from."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from fakes.network_writer import NetworkWriter

from agent.engine.points import BLACK, WHITE
from agent.errors import CalibrationError, ConfigError, JournalUnusable
from agent.events import SilentReporter
from agent.export.artifact import digest
from agent.workshop.contestant import GameSettings
from agent.workshop.gtp_game import GtpGame
from agent.workshop.match_openings import Openings, find_openings
from agent.workshop.match_sgf import GameWriter, game_text
from agent.workshop.opening import network_identity
from agent.workshop.sgf import read_record

SETTINGS = GameSettings(size=9, komi=7.0, rules="tromp-taylor", most_moves=243)
PLAYED = GtpGame(4, False, 1.0, "score", "W+3", 2, (40, 20, 22, 81, 81), (0.5, 0.25, 1.125))
NAMES = ("Ours [new]", "GNU Go 3.8")


def test_a_game_is_written_with_who_played_and_how_it_ended(tmp_path: Path) -> None:
    GameWriter(tmp_path / "games", SETTINGS).write(PLAYED, NAMES)
    (path,) = (tmp_path / "games").iterdir()
    assert path.name == "0005b.sgf"
    text = path.read_text()
    for said in ("PB[GNU Go 3.8]", "PW[Ours [new\\]]", "RE[W+3]", "KM[7]", "SZ[9]", "RU[tromp-taylor]", "C[0.25 s]"):
        assert said in text, said
    assert "Opening 5: the first 2 moves were given.\nEnded by two passes." in text
    position = read_record(path).position
    assert position.moves == ((BLACK, 40), (WHITE, 20), (BLACK, 22), (WHITE, 81), (BLACK, 81))
    assert (position.komi, position.rules) == (7.0, SETTINGS.judged_by())


def test_a_failure_is_told_with_its_engine() -> None:
    failed = msgspec.structs.replace(PLAYED, score=0.0, end="crash", result="B+F", fault="was ended by SIGSEGV")
    text = game_text(failed, NAMES, SETTINGS)
    assert "RE[B+F]" in text and "Ours [new\\] was ended by SIGSEGV." in text
    assert "GNU Go 3.8 was ended" in game_text(msgspec.structs.replace(failed, score=1.0), NAMES, SETTINGS)


@pytest.mark.parametrize(
    ("end", "said"), [("resign", "resignation"), ("void", "a repetition"), ("length", "the limit on moves")]
)
def test_other_ends_are_told(end: str, said: str) -> None:
    assert f"Ended by {said}." in game_text(msgspec.structs.replace(PLAYED, end=end), NAMES, SETTINGS)


def test_the_same_game_in_other_words_is_written_anew(tmp_path: Path) -> None:
    writer = GameWriter(tmp_path, SETTINGS)
    writer.write(PLAYED, NAMES)
    path = tmp_path / "0005b.sgf"
    before = path.stat()
    writer.write(PLAYED, NAMES)
    assert path.stat().st_ino == before.st_ino, "what is there already is left alone"
    writer.write(msgspec.structs.replace(PLAYED, result="W+R", end="resign"), NAMES)
    assert "RE[W+R]" in path.read_text() and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    "before",
    [
        game_text(PLAYED, ("Ours [new]", "native"), SETTINGS),
        game_text(msgspec.structs.replace(PLAYED, moves=(40, 20, 21, 81, 81)), NAMES, SETTINGS),
        game_text(PLAYED, NAMES, msgspec.structs.replace(SETTINGS, komi=0.5)),
        "notes of mine",
        "",
    ],
    ids=["other players", "other moves", "other komi", "no record", "empty"],
)
def test_the_records_of_another_match_are_left_alone(before: str, tmp_path: Path) -> None:
    path = tmp_path / "0005b.sgf"
    path.write_text(before)
    with pytest.raises(JournalUnusable, match="another game's record") as raised:
        GameWriter(tmp_path, SETTINGS).write(PLAYED, NAMES)
    assert "--sgf" in raised.value.fix and path.read_text() == before and list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalUnusable, match="cannot write"):
        GameWriter(tmp_path / "file", SETTINGS).write(PLAYED, NAMES)


# ---------------------------------------------------------------- openings


def openings(drawn_by: str | None, state: Path, settings: GameSettings = SETTINGS, seed: int = 1) -> Openings:
    return find_openings(drawn_by, seed, settings, state, SilentReporter())


def test_openings_of_records_are_taken_where_they_fit_the_match(tmp_path: Path) -> None:
    games = tmp_path / "games"
    games.mkdir()
    texts = {
        "good": "(;SZ[9]KM[0.5]RU[Japanese];B[ee];W[cc];B[gg])",
        "same": "(;SZ[9];B[ee];W[cc];B[gg])",
        "another": "(;SZ[9];B[ee];W[cg])",
        "large": "(;SZ[19];B[ee];W[cc])",
        "handicap": "(;SZ[9]AB[cc][gg];W[ee])",
        "white-first": "(;SZ[9];W[ee];B[cc])",
        "over": "(;SZ[9];B[ee];W[];B[])",
    }
    for name, text in texts.items():
        (games / f"{name}.sgf").write_text(text)
    found = openings(str(games), tmp_path / "state")
    first, second = found.find([0, 1], set())
    assert {first.moves, second.moves} == {((1, 40), (2, 20), (1, 60)), ((1, 40), (2, 56))}
    assert first.komi == 7.0 and first.rules == SETTINGS.judged_by()
    assert found.find([1], {(40, 56)})[0].moves == ((1, 40), (2, 20), (1, 60))
    with pytest.raises(CalibrationError, match="2 openings are needed, and the folder has 1"):
        found.find([1, 2], {(40, 56)})


def test_openings_of_a_network_are_asked_for_only_where_some_are_missing(tmp_path: Path) -> None:
    network = tmp_path / "small.bin.gz"
    NetworkWriter(8, ["ordinary"], channels=8).write(network)
    settings = msgspec.structs.replace(SETTINGS, size=5)
    found = openings(str(network), tmp_path / "state", settings)
    assert found.find([], set()) == [] and not (tmp_path / "state").exists()
    drawn = found.find([0, 1], set())
    assert len({position.moves for position in drawn}) == 2 and drawn[0].komi == 7.0
    assert openings(str(network), tmp_path / "state", settings).find([0], set())[0] == drawn[0]
    NetworkWriter(8, ["ordinary"], channels=16).write(network)
    assert openings(str(network), tmp_path / "state", settings).key != found.key


def test_a_network_is_known_by_its_file_and_by_whom_it_imitates(tmp_path: Path) -> None:
    def identity(named: str, profile: str = "") -> str:
        return network_identity(named, tmp_path / "state", SilentReporter(), human_profile=profile)

    network = tmp_path / "small.bin.gz"
    NetworkWriter(8, ["ordinary"], channels=8).write(network)
    sha256 = digest(network)
    # Only who could imitate somebody does.
    assert identity(str(network)) == identity(str(network), "rank_9d") == sha256
    NetworkWriter(15, ["ordinary"], channels=8, metadata=True).write(network)
    assert digest(network) != sha256
    assert identity(str(network), "rank_9d") == f"{digest(network)} as rank_9d"
    # Nor does what only native KataGo could read.
    network.write_bytes(b"trained tomorrow")
    assert identity(str(network), "rank_9d") == digest(network)
    # The catalogue's names are one network's each, whether or not it is here yet; others are none.
    assert identity("b15c192") == "" and not (tmp_path / "state").exists()
    with pytest.raises(ConfigError, match="unheard-of"):
        identity("unheard-of")


def test_without_a_network_openings_are_drawn_blindly(tmp_path: Path) -> None:
    found = openings(None, tmp_path)
    assert found.key == "blind, seed 1" and len(found.find([0, 1, 2], set())) == 3
    assert found.find([0], set()) != openings(None, tmp_path, seed=2).find([0], set())
