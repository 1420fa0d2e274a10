"""One GTP engine: what it answers, and everything that it can do wrong instead."""

from __future__ import annotations

import asyncio
import shlex
import sys
from pathlib import Path

import pytest
from fakes.gtp import ENGINE
from fakes.processes import wait_until_gone

from agent.workshop.gtp_process import MAX_CHATTER_LINES, GtpProcess, PlayerFault

PATIENT_S, HASTY_S = 60.0, 0.3


def converse(command: tuple[str, ...], *asked: str, patience_s: float = PATIENT_S) -> list[str]:
    """Each command's answer, or what went wrong with it. `patience_s` is for moves, and for whatever is asked alone."""

    async def ask() -> list[str]:
        process = await GtpProcess.start(command)
        answers = []
        for text in asked:
            try:
                answers.append(await process.ask(text, patience_s if text[:4] != "name" else PATIENT_S))
            except PlayerFault as fault:
                answers.append(f"{fault.kind}: {fault}")
        await process.close()
        return answers

    return asyncio.run(ask())


def script(text: str) -> tuple[str, ...]:
    return (sys.executable, "-S", "-E", "-u", "-c", text)


def misbehaving(manner: str) -> tuple[str, ...]:
    return (*ENGINE, "--manner", manner, "--at", "1")


def test_answers_come_without_their_mark() -> None:
    answers = converse(ENGINE, "name", "boardsize 5", "genmove b", "showboard", "genmove w", "list_commands")
    assert answers[:3] == ["Fake", "", "B1"] and answers[4] == "D1"
    assert answers[3] == "refused: answered 'showboard' with 'unknown command'"
    assert answers[5].splitlines()[:2] == ["name", "version"]


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        (r"= D4\n\n", "D4"),
        (r"=  D4 \n\n", "D4"),
        (r"=12 D4\n\n", "D4"),
        (r"=\n\n", ""),
        (r"= one\ntwo\n three\n\n", "one\ntwo\n three"),
        (r"= D4\r\n\r\n", "D4"),
        (r"\n\n= D4\n\n", "D4"),
        (r"tuning 1/3\ntuning 2/3\n= D4\n\n", "D4"),
        (r"=\tD4\n\n", "D4"),
        (r"?7 no\n\n", "refused: answered 'genmove b' with 'no'"),
        (r"?\n\n", "refused: answered 'genmove b' with 'a refusal'"),
    ],
)
def test_answers_are_read_as_engines_write_them(said: str, heard: str) -> None:
    assert converse(script(f"input(); print('{said}', end=''); input()"), "genmove b") == [heard]


def test_an_engine_may_log_with_each_move_for_as_long_as_it_plays() -> None:
    logs = f"for line in iter(input, 'quit'): print('thinking\\n' * {MAX_CHATTER_LINES // 8} + '= D4\\n')"
    assert converse(script(logs), *["genmove b"] * 12) == ["D4"] * 12


@pytest.mark.parametrize(
    ("manner", "kind", "text"),
    [
        ("crash", "crash", "ended with status 3; its last words: out of memory"),
        ("segfault", "crash", "was ended by SIGSEGV"),
        ("no-gtp", "garbage", "says what is no GTP, such as 'hello'"),
        ("endless", "garbage", "gave no end to its answer to 'genmove b'"),
        ("stillborn", "crash", "ended with status 1; its last words: cannot find the network"),
    ],
)
def test_what_an_engine_does_wrong_is_told_and_stays_so(manner: str, kind: str, text: str) -> None:
    first, second = converse(misbehaving(manner), "genmove b", "name")
    assert first == second and first.startswith(f"{kind}: {text}")


@pytest.mark.parametrize("manner", ["hang", "orphan", "mute"])
def test_an_engine_that_hangs_is_ended(manner: str, tmp_path: Path) -> None:
    command = (*misbehaving(manner), "--lives", str(tmp_path / "lives"))
    answers = converse(command, "genmove b", "name", patience_s=HASTY_S)
    assert answers == ["timeout: did not answer 'genmove b' within 0.3 s"] * 2


def test_an_answer_to_nothing_is_no_answer_to_what_comes_next() -> None:
    answers = converse(misbehaving("twice"), "genmove b", "name")
    assert answers == ["B1", "garbage: answered '= B1' to nothing"]


def test_a_line_without_an_end_is_not_kept_in_memory() -> None:
    endless = "import sys\nwhile True: sys.stdout.write('x' * 65536)"
    assert converse(script(endless), "name") == ["garbage: said a line without an end"]


def test_a_program_that_is_not_there() -> None:
    with pytest.raises(PlayerFault, match="does not start: No such file"):
        converse(("/no/such/engine",), "name")
    with pytest.raises(PlayerFault, match="does not start: Permission denied"):
        converse((str(Path(__file__)),), "name")


@pytest.mark.parametrize("manner", ["well", "hang", "orphan"])
def test_nothing_that_it_started_is_left_behind(manner: str, tmp_path: Path) -> None:
    lives = tmp_path / "lives"
    # A script that starts the engine and waits for it, as many do.
    wrapped = ("/bin/sh", "-c", f"{shlex.join((*misbehaving(manner), '--lives', str(lives)))}; true")
    converse(wrapped, "name", "genmove b", patience_s=PATIENT_S if manner == "well" else HASTY_S)
    started = lives.read_text().split()
    assert started
    for pid in started:
        wait_until_gone(int(pid))


def test_whoever_stops_waiting_ends_it(tmp_path: Path) -> None:
    lives = tmp_path / "lives"

    async def give_up() -> bool:
        process = await GtpProcess.start((*misbehaving("hang"), "--lives", str(lives)))
        await process.ask("name", PATIENT_S)
        asking = asyncio.ensure_future(process.ask("genmove b", PATIENT_S))
        await asyncio.sleep(0)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        wait_until_gone(int(lives.read_text()))
        usable = process.is_usable
        await process.close()
        return usable

    assert not asyncio.run(give_up())


def test_an_engine_that_no_longer_listens_is_ended() -> None:
    deaf = "import os, signal\nos.close(0)\nprint('= D4', flush=True)\nsignal.pause()"
    answers = converse(script(deaf), *["genmove b"] * 2, patience_s=HASTY_S)
    assert [answer.split(":")[0] for answer in answers] == ["timeout"] * 2
