"""The race finds what the exhaustive sweep finds, in a tenth of its time, on machines whose speeds are known."""

from __future__ import annotations

import itertools

import pytest
from fakes.worlds import World

from agent.engine.tuning import Contender, Timing, choose
from agent.engine.way import Way
from agent.errors import BackendUnavailable
from agent.workshop.sweep import Findings, Option, Sample, race, sweep_all, ways_of

IN_FLIGHT = 33
SEEDS = range(300)


def chosen(findings: Findings) -> Option:
    """By the rule of `agent tune`."""
    timings = [
        Timing(Contender(str(option.contender), "", "", "", ""), *option.way, {"19x19": findings.rate(option)}, 0)
        for option in findings.ranking()
    ]
    best = choose(timings)
    assert best is not None
    return Option(int(best.contender.backend), best.way)


def raced(world: World, budget_s: float = 60.0) -> Findings:
    return race(world.contenders, ways_of(world.threads, IN_FLIGHT), world, world.clock, budget_s, silent)


def silent(what: str, done: int, total: int) -> None:
    assert 0 <= done <= total and what


def shares_of_the_best(*, noise: float = 0.02, neighbours: float = 0.0, bursts: float = 0.0) -> list[float]:
    """How fast what the race chooses is, as a share of the best way there is: of each machine, the worst first."""
    worlds = [World(seed, noise=noise, neighbours=neighbours, bursts=bursts) for seed in SEEDS]
    return sorted(
        world.rate(chosen(raced(world))) / world.best_rate(ways_of(world.threads, IN_FLIGHT)) for world in worlds
    )


@pytest.mark.parametrize("noise", [0.01, 0.03])
def test_the_choice_is_within_5_percent_of_the_best_way_there_is(noise: float) -> None:
    shares = shares_of_the_best(noise=noise)
    assert shares[len(shares) // 50] >= 0.95, "more than 2 % of the machines"
    assert shares[0] >= 0.9


def test_neighbours_that_disturb_cost_little() -> None:
    """Each measurement is slower by 10 % on average, and nobody knows which by how much."""
    shares = shares_of_the_best(neighbours=0.1)
    assert shares[len(shares) // 10] >= 0.95, "more than 10 % of the machines"
    assert shares[0] >= 0.85


def test_bursts_of_speed_choose_nothing() -> None:
    """For seconds everything is a fifth faster: what was measured then must not win by that."""
    shares = shares_of_the_best(bursts=0.2)
    assert shares[len(shares) // 50] >= 0.95, "more than 2 % of the machines"
    assert shares[0] >= 0.85


def test_the_race_takes_a_tenth_of_the_sweep() -> None:
    """Where there is something to choose: three contenders and two cores. With less the sweep itself takes less than
    two minutes, most of which is opening."""
    shares = []
    for seed in SEEDS:
        world, whole = World(seed), World(seed)
        if len(world.contenders) < 3 or world.threads < 2:
            continue
        raced(world)
        sweep_all(whole.contenders, ways_of(whole.threads, IN_FLIGHT), whole, silent)
        shares.append(world.now_s / whole.now_s)
    shares.sort()
    assert len(shares) > 100
    assert shares[len(shares) // 2] <= 0.05
    assert shares[int(len(shares) * 0.98)] <= 0.1


def test_the_sweep_itself_finds_the_best() -> None:
    for seed in range(20):
        world = World(seed)
        ways = ways_of(world.threads, IN_FLIGHT)
        findings = sweep_all(world.contenders, ways, world, silent)
        assert len(findings.samples) == len(world.contenders) * len(ways)
        assert all(len(samples) == 3 for samples in findings.samples.values())
        assert world.rate(chosen(findings)) >= 0.95 * world.best_rate(ways)


@pytest.mark.parametrize("budget_s", [1.0, 4.0, 10.0])
def test_the_budget_is_kept_and_something_is_chosen(budget_s: float) -> None:
    for seed in range(60):
        world = World(seed)
        findings = raced(world, budget_s)
        assert findings.ranking()
        # What is begun ends: at most one opening and one measurement of unknown length, and one round of noise.
        slowest = min(world.rate(option) for option in findings.samples)
        assert world.now_s <= budget_s + 1.0 + 2 * 4 * world.threads / slowest + 0.5


class Breaking(World):
    """Contender 0 cannot do it; contender 1 fails with more than two positions in a batch."""

    def measure(self, option: Option, seconds: float) -> Sample:
        if option.contender == 0:
            raise BackendUnavailable("it crashed")
        if option.contender == 1 and option.way.batch > 4:
            raise BackendUnavailable("it hung")
        return super().measure(option, seconds)


@pytest.mark.parametrize("everything", [False, True])
def test_who_fails_falls_out_and_the_rest_goes_on(everything: bool) -> None:
    seed = next(seed for seed in itertools.count() if len(World(seed).contenders) == 3 and World(seed).threads == 2)
    world = Breaking(seed)
    ways = ways_of(2, IN_FLIGHT)
    findings = sweep_all(world.contenders, ways, world, silent) if everything else raced(world)
    assert findings.fallen[0] == "it crashed"
    assert {option.contender for option in findings.ranking()} <= {1, 2} and findings.best_of(2)
    if everything:
        assert findings.fallen[1].startswith("it hung with 2 threads, one session, batch 8")
        assert chosen(findings).contender == 2


def test_the_final_goes_on_where_its_leader_breaks() -> None:
    seed = next(seed for seed in itertools.count() if len(World(seed).contenders) == 7 and World(seed).threads == 2)
    ways = ways_of(2, IN_FLIGHT)
    leader = chosen(raced(World(seed))).contender

    class BreakingLate(World):
        in_final = False

        def measure(self, option: Option, seconds: float) -> Sample:
            if self.in_final and option.contender == leader:
                raise BackendUnavailable("it crashed")
            return super().measure(option, seconds)

    world = BreakingLate(seed)

    def listen(what: str, done: int, total: int) -> None:
        world.in_final |= what.startswith("final")

    findings = race(world.contenders, ways, world, world.clock, 60.0, listen)
    assert findings.fallen[leader].startswith("it crashed with ")
    rest = [Option(number, way) for number in world.contenders if number != leader for way in ways]
    assert world.rate(chosen(findings)) >= 0.9 * max(world.rate(option) for option in rest)


def test_nothing_works() -> None:
    class Broken:
        def measure(self, option: Option, seconds: float) -> Sample:
            raise BackendUnavailable("no")

    findings = race(range(2), ways_of(2, 8), Broken(), lambda: 0.0, 10.0, silent)
    assert findings.fallen == {0: "no", 1: "no"} and findings.ranking() == []


def test_ways_keep_positions_under_way_in_bounds() -> None:
    assert ways_of(1, 1) == (Way(1, 1, 1),)
    ways = ways_of(4, 16)
    assert max(way.threads * way.batch for way in ways) == 16
    assert {way.threads for way in ways} == {1, 2, 4}
    assert {(way.threads, way.sessions) for way in ways} == {(4, 1), (4, 4), (2, 1), (2, 2), (1, 1)}
    assert all(way.batch == 1 for way in ways_of(64, 8) if way.threads > 8)
