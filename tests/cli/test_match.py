"""`agent match` with GTP engines, from the command line to the files; networks against each other: test_verify.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fakes.gtp import ENGINE
from fakes.network_writer import NetworkWriter
from typer.testing import CliRunner, Result

from agent.__main__ import app
from agent.errors import PlayerFailed, RulesError
from agent.export.artifact import digest
from agent.workshop.contestant import command_line


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder's owner with a small network."""
    folder = tmp_path_factory.mktemp("match")
    NetworkWriter(8, ["ordinary", "gpool"], channels=8).write(folder / "small.bin.gz")
    (folder / "agent.yaml").write_text(f"state_dir: {folder / 'state'}\n")
    return folder


def run(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["match", *arguments, "--config", str(folder / "agent.yaml")])


def engine(*options: str) -> str:
    return command_line((*ENGINE, *options))


def test_two_engines_play_and_the_table_tells_how(folder: Path, tmp_path: Path) -> None:
    out, sgf = tmp_path / "games.jsonl", tmp_path / "sgf"
    wanted = ("--board", "5", "--games", "4", "--out", str(out), "--sgf", str(sgf), "--first-name", "Ours")
    failing = engine("--manner", "illegal", "--at", "3", "--once", "--name", "Theirs")
    result = run(folder, engine(), failing, *wanted)
    assert result.exit_code == 0, result.output
    said = " ".join(result.stdout.split())
    assert (
        "Ours scored 75.0 % of 4 games, 95 % interval" in said
        and "1 by illegal, 3 by score" in said
        and "1 illegal" in said
    )
    assert "Theirs 1.0 takes no rules over GTP" in said
    assert f"Ours against Theirs 1.0, 5x5, seed 1: {out} 4 games in 2 pairs" in said
    assert out.read_text().count("\n") == 5 and len(list(sgf.iterdir())) == 4
    again = run(folder, engine(), failing, *wanted, "--json")
    told = json.loads(again.stdout.splitlines()[-1])
    assert told["elo"]["games"] == 4 and told["ends"] == {"illegal": 1, "score": 3}
    assert [showing["faults"] for showing in told["contestants"]] == [{}, {"illegal": 1}]
    assert told["elo"]["score_low"] <= told["elo"]["score"] <= told["elo"]["score_high"]


def test_a_network_plays_a_command_with_our_own_service(folder: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    idle = engine("--idle", "--katago", "--log", str(log), "--name", "Idle")
    wanted = ("--board", "5", "--games", "2", "--visits", "2", "--second-setup", "kata-set-param lagBuffer 0")
    result = run(folder, str(folder / "small.bin.gz"), idle, *wanted, "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout.splitlines()[-1])
    assert told["elo"]["games"] == 2 and told["contestants"][1]["name"] == "Idle 1.0"
    assert told["contestants"][0]["faults"] == {} and told["contestants"][0]["deaf_to"] == []
    assert "kata-set-param maxVisits 2\nkata-set-param lagBuffer 0\n" in log.read_text()
    # The openings are the network's, and its games stand in the state folder.
    (journal,) = (folder / "state" / "matches").glob("*-5-gtp-1.jsonl")
    head = journal.read_text().splitlines()[0]
    assert "openings of " in head and f"network {digest(folder / 'small.bin.gz')})" in head


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("b15c192", "b18c384nbt", "--komi", "0"), "--gtp lets them play as engines"),
        (("b15c192", "b18c384nbt", "--concurrency", "2"), "--gtp lets them play as engines"),
        (("b15c192", "gnugo 'mode"), "no command line"),
        (("pyproject.toml", "gnugo --mode gtp"), "not artifacts"),
    ],
)
def test_what_cannot_be_meant_is_told(folder: Path, arguments: tuple[str, ...], said: str) -> None:
    result = run(folder, *arguments)
    assert result.exit_code == 2 and said in " ".join(result.stderr.replace("│", " ").split())


def test_a_setup_that_an_engine_does_not_take_ends_the_match(folder: Path, tmp_path: Path) -> None:
    out = ("--board", "5", "--out", str(tmp_path / "games.jsonl"))
    result = run(folder, engine("--name", "Theirs"), engine(), "--first-setup", "known_command name", *out)
    assert isinstance(result.exception, PlayerFailed)
    assert str(result.exception).endswith("it answered 'known_command name' with 'unknown command'")


def test_territory_rules_are_refused_before_anything_starts(folder: Path, tmp_path: Path) -> None:
    lives = tmp_path / "lives"
    result = run(folder, engine("--lives", str(lives)), engine(), "--rules", "japanese")
    assert isinstance(result.exception, RulesError) and not lives.exists()
