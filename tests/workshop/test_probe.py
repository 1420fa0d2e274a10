"""Backends that crash, hang or answer nonsense cost a process, never the prober."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import msgspec
import pytest
from fakes.probe_child import COMMAND

from agent.engine.tuning import Contender
from agent.engine.way import Way
from agent.errors import BackendUnavailable
from agent.workshop.measurer import ChildMeasurer
from agent.workshop.probe import Probe
from agent.workshop.probe_child import undisturbed_clock
from agent.workshop.probe_messages import Answer, Answers, Measured, Opened
from agent.workshop.small_check import BOUNDS, FILE, differences, load_answers, store_answers
from agent.workshop.sweep import Option


@pytest.fixture
def probe() -> Iterator[Probe]:
    with Probe(COMMAND) as child:
        yield child


@pytest.mark.parametrize(
    ("backend", "reason"),
    [
        ("sigill", r"crashed with SIGILL: it uses an instruction that this processor lacks \(a last word\)"),
        ("sigsegv", "crashed with SIGSEGV: it read or wrote memory"),
        ("nan", "an output is not a finite number"),
        ("misshapen", r"outputs have shapes \(1, 1, 361\)"),
        ("missing", "the package imaginary is not installed"),
        ("odd", "^RuntimeError: a class of the runtime's own$"),
        ("imaginary", "there is no backend named 'imaginary'"),
    ],
)
def test_what_goes_wrong_becomes_a_sentence(probe: Probe, backend: str, reason: str) -> None:
    with pytest.raises(BackendUnavailable, match=reason):
        probe.open(backend, "", 1)
        probe.answers()


def test_boards_that_an_artifact_takes(probe: Probe) -> None:
    probe.open("uniform", "", 1)
    probe.prove([(9, 7), (1, 1), (19, 19)])
    probe.open("nan", "", 1)
    with pytest.raises(BackendUnavailable, match="the outputs on 9x7 are not finite"):
        probe.prove([(9, 7)])


def test_a_child_that_hangs_is_ended(probe: Probe) -> None:
    probe.open("hanging", "", 1)
    with pytest.raises(BackendUnavailable, match=r"it hung: no answer within 0\.2 s"):
        probe.answers(patience_s=0.2)
    with pytest.raises(BackendUnavailable):
        probe.answers()


def test_what_was_refused_leaves_the_child_in_use(probe: Probe) -> None:
    with pytest.raises(BackendUnavailable, match="no network was opened"):
        probe.answers()
    with pytest.raises(BackendUnavailable, match="imaginary"):
        probe.open("missing", "", 1)
    probe.open("uniform", "", 1)
    assert len(probe.answers().answers) == 3


def test_no_child_outlives_its_probe() -> None:
    with Probe(COMMAND) as probe:
        probe.open("hanging", "", 1)
        pid = probe.pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_what_a_runtime_prints_is_no_reply(probe: Probe) -> None:
    probe.open("chatty", "", 1)
    assert [answer.board for answer in probe.answers().answers] == ["19x19", "19x19", "9x9"]


def test_a_command_that_is_none_and_one_that_talks_nonsense() -> None:
    with pytest.raises(BackendUnavailable, match="no process to try it in"):
        Probe(["/nonexistent/agent"])
    talks, ends = "print('hello', flush=True); input()", "input(); raise SystemExit('no agent here')"
    with Probe([sys.executable, "-c", talks]) as probe, pytest.raises(BackendUnavailable, match="nonsense"):
        probe.answers()
    with Probe([sys.executable, "-c", ends]) as probe, pytest.raises(BackendUnavailable, match=r"1 \(no agent here\)"):
        probe.answers()


def test_a_child_that_falls_silent_and_stays_is_ended() -> None:
    opened = msgspec.json.encode(Opened({}, "")).decode()
    silent = f"import os; input(); print({opened!r}, flush=True); input(); os.close(1); input()"
    with Probe([sys.executable, "-c", silent]) as probe:
        probe.open("quick", "", 1)
        with pytest.raises(BackendUnavailable, match="closed its end and did not end"):
            probe.answers(patience_s=2.0)


def test_a_measurement_of_nothing_is_none() -> None:
    """A child that counts nothing, or no time, would be infinitely fast."""
    for counted in ((0, 1.0), (8, 0.0), (8, -1.0)):
        reply = Measured(*counted, 1)
        lines = [msgspec.json.encode(each).decode() for each in (Opened({}, ""), Answers(()), reply)]
        talks = "import sys\n" + "".join(f"sys.stdin.readline(); print({line!r}, flush=True)\n" for line in lines)
        command = [sys.executable, "-c", talks]
        option = Option(0, Way(1, 1, 1))
        contenders = [Contender("quick", "fp32", "", "", "")]
        measurer = ChildMeasurer(contenders, None, 1, None, partial(Probe, command))
        with measurer as bench, pytest.raises(BackendUnavailable, match="it counted"):
            bench.measure(option, 0.1)


def test_measurements_tell_speed_and_memory(probe: Probe) -> None:
    probe.open("slow", "", 2)
    one = probe.measure(Way(1, 1, 4), 9, 0.1)
    two = probe.measure(Way(2, 2, 4), 9, 0.1)
    # 8 ms a position and 2 ms a call, or slower where the machine is busy.
    assert 0 < one.evaluations / one.seconds < 125
    assert 0 < two.evaluations / two.seconds < 250
    assert one.peak_rss_bytes > 10e6


def test_time_that_others_took_does_not_count(probe: Probe, tmp_path: Path) -> None:
    told = tmp_path / "schedstat"
    told.write_text("7000000 0 3\n")
    before = undisturbed_clock(told)
    told.write_text("7000000 5000000000000 4\n")
    assert undisturbed_clock(told) - before < -4000, "5000 s without a core, in less than 1000 s"
    assert undisturbed_clock() <= time.monotonic()
    probe.open("uniform", "", 1)
    found = probe.measure(Way(2, 1, 1), 9, 0.05, undisturbed=True)
    assert found.evaluations > 0 and found.seconds > 0


@pytest.mark.parametrize("content", [None, "", "7000000", "7000000 many 3"])
def test_where_the_kernel_tells_of_no_others_all_time_counts(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "schedstat").write_text(content)
    before = time.monotonic()
    assert before <= undisturbed_clock(tmp_path / "schedstat") <= time.monotonic()


def test_memory_is_that_of_the_backend(probe: Probe) -> None:
    probe.open("uniform", "", 1)
    small = probe.measure(Way(1, 1, 1), 9, 0.01).peak_rss_bytes
    with Probe(COMMAND) as other:
        other.open("greedy", "", 1)
        assert other.measure(Way(1, 1, 1), 9, 0.01).peak_rss_bytes > small + 150e6


# ---------------------------------------------------------------- the check


def answers_of(backend: str) -> Answers:
    with Probe(COMMAND) as probe:
        probe.open(backend, "", 1)
        return probe.answers()


def test_wrong_answers_are_told_from_right_ones() -> None:
    right, wrong = answers_of("uniform"), answers_of("wrong")
    for precision in BOUNDS:
        assert differences(right, right, precision) is None
        assert "wrong on 19x19: win off by 0.49" in (differences(wrong, right, precision) or "")


def test_bounds_widen_with_the_precision_and_nan_is_beyond_all() -> None:
    right = Answers((Answer("9x9", (0.5, 0.5, 0.0), (0.5, 0.5)),))
    off = Answers((Answer("9x9", (0.55, 0.45, 0.0), (0.45, 0.55)),))
    nan = Answers((Answer("9x9", (float("nan"), 0.5, 0.0), (0.5, 0.5)),))
    assert [differences(off, right, precision) is None for precision in BOUNDS] == [False, False, True, True]
    assert all(differences(nan, right, precision) for precision in BOUNDS)
    assert differences(Answers(()), right, "int8")
    assert differences(Answers((Answer("9x9", (0.5, 0.5, 0.0), (1.0,)),)), right, "int8")


def test_answers_are_kept_and_damage_is_no_harm(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    answers = Answers((Answer("9x9", (0.5, 0.5, 0.0), (0.5, 0.5)),))
    assert load_answers(tmp_path / "new") is None
    store_answers(tmp_path / "new", answers)
    assert load_answers(tmp_path / "new") == answers
    assert load_answers(tmp_path / "new", "rank_5k") is None, "who imitates somebody answers otherwise"
    store_answers(tmp_path / "new", Answers(()), "rank_5k")
    assert load_answers(tmp_path / "new", "rank_5k") == Answers(()) and load_answers(tmp_path / "new") == answers
    (tmp_path / "new" / FILE).write_bytes(b"{")
    assert load_answers(tmp_path / "new") is None
    (tmp_path / "new" / FILE).write_text('{"more": ' + "[" * 5000 + "]" * 5000 + "}")
    assert load_answers(tmp_path / "new") is None
    (tmp_path / "new" / FILE).unlink()
    os.mkfifo(tmp_path / "new" / FILE)
    assert load_answers(tmp_path / "new") is None, "and nobody waits for its other end"
    (tmp_path / "file").write_text("")
    store_answers(tmp_path / "file", answers)
    assert "are not kept" in caplog.text
