"""Asking a native engine for raw answers: a scripted one that plays katago."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from agent.engine.messages import Position
from agent.engine.points import BLACK, WHITE
from agent.engine.rules import parse_rules
from agent.errors import BenchFailed
from agent.events import SilentReporter
from agent.workshop.native_raw import ask_native

POSITION = Position(
    *(2, 1, parse_rules("japanese"), 6.5), initial_stones=((BLACK, 0),), initial_player=WHITE, moves=((WHITE, 2),)
)
ANSWER = """= symmetry 0
whiteWin 0.25
whiteLoss 0.7
noResult 0.05
whiteLead -3.5
whiteScoreSelfplay -3.25
policy
    NAN 0.75
policyPass 0.25
whiteOwnership
  -0.5  0.125
"""
ENGINE = """#!{python}
import pathlib, sys
log = pathlib.Path({log!r}).open("w")
log.write(" ".join(sys.argv[1:]) + chr(10) + pathlib.Path(sys.argv[3]).read_text())
for line in sys.stdin:
    log.write(line)
    log.flush()
    {reply}
    sys.stdout.flush()
"""


def engine(folder: Path, reply: str) -> Path:
    path = folder / "katago"
    path.write_text(ENGINE.format(python=sys.executable, log=str(folder / "log"), reply=reply))
    path.chmod(0o755)
    return path


def test_each_position_is_set_up_and_its_answer_read(tmp_path: Path) -> None:
    script = engine(tmp_path, f"print({ANSWER!r} if 'raw' in line else '= ', end=chr(10) * 2)")
    answers = ask_native(script, Path("net.bin.gz"), [POSITION, POSITION], 0.2, SilentReporter())
    assert len(answers) == 2 and answers[0] == answers[1]
    assert answers[0].policy == (None, 0.75) and answers[0].policy_pass == 0.25
    assert (answers[0].white_win, answers[0].no_result, answers[0].white_lead) == (0.25, 0.05, -3.5)
    assert answers[0].white_ownership == (-0.5, 0.125)
    log = (tmp_path / "log").read_text().splitlines()
    assert log[0].startswith("gtp -config ") and log[0].endswith(f"-model {Path.cwd()}/net.bin.gz")
    setup = log[log.index("rectangular_boardsize 2 1") :][:7]
    rules = setup.pop(2)
    assert json.loads(rules.removeprefix("kata-set-rules "))["scoring"] == "TERRITORY"
    assert setup[1:] == ["clear_board", "komi 6.5", "set_free_handicap A1", "play W pass", "kata-raw-nn 0 0.2"]


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("print('? unknown command', end=chr(10) * 2)", r'refused "rectangular_boardsize 2 1": \? unknown command'),
        ("sys.exit('the network is no network')", "ended: the network is no network"),
        ("print('= ' + ('whiteWin none' if 'raw' in line else ''), end=chr(10) * 2)", "gave no answer"),
        ("print('= ' + ('whiteWin' if 'raw' in line else ''), end=chr(10) * 2)", "gave no answer"),
        ("print('= ' + ('whiteWin 0.5' if 'raw' in line else ''), end=chr(10) * 2)", "gave no answer"),
    ],
)
def test_an_engine_that_gives_no_answer_is_named(tmp_path: Path, reply: str, reason: str) -> None:
    with pytest.raises(BenchFailed, match=reason) as caught:
        ask_native(engine(tmp_path, reply), Path("net.bin.gz"), [POSITION], 0.2, SilentReporter())
    assert "--native" in caught.value.fix


def test_an_engine_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchFailed, match="does not start: No such file"):
        ask_native(tmp_path / "katago", Path("net.bin.gz"), [POSITION], 0.2, SilentReporter())
