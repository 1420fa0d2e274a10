"""`tune` with children that are real processes: the fastest wins, and whoever crashes, hangs or lies is set aside."""

from __future__ import annotations

import pytest
from fakes.probe_child import COMMAND
from fakes.small_networks import Listener

from agent.engine.tuning import Contender, Tuned
from agent.engine.way import Way
from agent.errors import TuneFailed
from agent.events import Benchmarking
from agent.workshop.probe import Probe
from agent.workshop.probe_messages import Answers
from agent.workshop.sweep import ways_of
from agent.workshop.tune import Subject, TuneOptions, tune

SUBJECT = Subject("a machine", "random", "00" * 32, {"fake": "1"})
WAYS = ways_of(2, 4, (1, 2))


def contender(backend: str) -> Contender:
    return Contender(backend, "fp32", "", f"hash of {backend}", "")


@pytest.fixture(scope="module")
def right() -> Answers:
    with Probe(COMMAND) as probe:
        probe.open("uniform", "", 1)
        return probe.answers()


def tuned(backends: list[str], expected: Answers | None, **options: object) -> Tuned:
    settings = {"ways": WAYS, "budget_s": 30.0, "memory_bytes": None, **options}
    names = [contender(backend) for backend in backends]
    return tune(names, SUBJECT, expected, TuneOptions(**settings), Listener(), open_probe=lambda: Probe(COMMAND))  # type: ignore[arg-type]


def test_the_fastest_of_those_that_work_is_chosen(right: Answers) -> None:
    found = tuned(["slow", "sigill", "nan", "quick", "wrong", "missing", "sigsegv"], right)
    assert found.chosen.contender == contender("quick")
    assert found.chosen.threads == 2
    assert {timing.contender.backend for timing in found.timings} == {"quick", "slow"}
    reasons = {lost.contender.backend: lost.reason for lost in found.set_aside}
    assert reasons.keys() == {"sigill", "nan", "wrong", "missing", "sigsegv"}
    assert "SIGILL" in reasons["sigill"] and "SIGSEGV" in reasons["sigsegv"]
    assert "not a finite number" in reasons["nan"] and "wrong on 19x19" in reasons["wrong"]
    assert reasons["missing"] == "the package imaginary is not installed"
    assert found.sweep == "race" and found.taken_s > 0 and found.versions == {"fake": "1"}


def test_other_boards_are_told_beside_the_main_one(right: Answers) -> None:
    found = tuned(["quick"], right)
    assert list(found.chosen.evals_per_s) == ["19x19", "13x13", "9x9"]
    assert all(rate > 0 for rate in found.chosen.evals_per_s.values())


def test_everything_measures_every_way(right: Answers) -> None:
    found = tuned(["quick"], right, ways=(Way(1, 1, 1), Way(2, 2, 1)), everything=True)
    assert found.sweep == "all"
    assert sorted(timing.way for timing in found.timings) == [Way(1, 1, 1), Way(2, 2, 1)]


def test_what_needs_too_much_memory_is_set_aside(right: Answers) -> None:
    roomy = tuned(["uniform", "greedy"], right, ways=(Way(1, 1, 1),))
    peaks = {timing.contender.backend: timing.peak_rss_bytes for timing in roomy.timings}
    limit = (peaks["uniform"] + peaks["greedy"]) // 2
    found = tuned(["greedy", "uniform"], right, ways=(Way(1, 1, 1),), memory_bytes=limit)
    assert found.chosen.contender.backend == "uniform"
    (lost,) = found.set_aside
    assert lost.contender.backend == "greedy" and "MiB, and the worker may take" in lost.reason


def test_without_right_answers_only_nonsense_is_wrong() -> None:
    found = tuned(["wrong", "nan"], None, ways=(Way(1, 1, 1),))
    assert found.chosen.contender.backend == "wrong"
    assert [lost.contender.backend for lost in found.set_aside] == ["nan"]


def test_where_nothing_works_every_reason_is_told(right: Answers) -> None:
    with pytest.raises(TuneFailed, match=r"sigill fp32: it crashed with SIGILL.*missing fp32: the package imaginary"):
        tuned(["sigill", "missing"], right, ways=(Way(1, 1, 1),))
    with pytest.raises(TuneFailed, match="there was nothing to try"):
        tuned([], right, ways=(Way(1, 1, 1),))


def test_progress_is_told(right: Answers) -> None:
    listener = Listener()
    options = TuneOptions((Way(1, 1, 1),), 10.0)
    tune([contender("quick")], SUBJECT, right, options, listener, open_probe=lambda: Probe(COMMAND))
    assert all(isinstance(event, Benchmarking) and event.done <= event.total for event in listener.events)
    assert listener.events
