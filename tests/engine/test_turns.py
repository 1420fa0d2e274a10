"""Clients in turn: nobody starves, nobody gains by tricks, and one client's own requests keep KataGo's order."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from agent.engine.backends.uniform import UniformBackend
from agent.engine.job import Job
from agent.engine.messages import Position, RawReport, RawRequest, SearchReport, SearchRequest
from agent.engine.rules import Rules
from agent.engine.tree import EvalCache, SearchTree
from agent.engine.turns import BURST_EVALUATIONS, PRECEDENCE_EVALUATIONS, Turns

EMPTY = Position(9, 9, Rules(), 7.0)
LARGEST_BATCH = 16
# Of every search that runs here; none of them is carried out.
TREE = SearchTree(UniformBackend().network, EvalCache(1), 1)


def nobody(report: SearchReport | RawReport) -> None:
    """A sink that is never called."""


class Queue:
    """Turns as one thread of the player uses them: the first job in order gets a batch."""

    def __init__(self) -> None:
        self.turns = Turns(threads=2)
        self.jobs: list[Job] = []
        self.arrivals = 0

    def add(
        self,
        client: str,
        priority: float = 0.0,
        *,
        background: bool = False,
        visits: int = 10**6,
        time_s: float | None = None,
    ) -> Job:
        self.arrivals += 1
        request = SearchRequest(
            id=self.arrivals,
            position=EMPTY,
            player=1,
            max_visits=visits,
            max_time_s=time_s,
            client=client,
            priority=priority,
            background=background,
        )
        return self.join(Job(request, nobody, self.arrivals))

    def add_raw(self, client: str) -> Job:
        self.arrivals += 1
        return self.join(
            Job(RawRequest(id=self.arrivals, position=EMPTY, player=1, client=client), nobody, self.arrivals)
        )

    def join(self, job: Job) -> Job:
        self.jobs.append(job)
        self.turns.join(job)
        return job

    def begin(self, job: Job) -> Job:
        job.tree = TREE
        self.turns.begin(job, self.jobs)
        return job

    def serve(self, evaluations: int = 1) -> Job:
        job = self.turns.order(self.jobs)[0]
        if job.tree is None and isinstance(job.request, SearchRequest):
            self.begin(job)
        self.turns.charge(job, evaluations)
        return job

    def end(self, job: Job) -> None:
        self.jobs.remove(job)
        self.turns.leave(job)


def test_one_clients_requests_go_by_priority_then_arrival_and_raw_ones_first() -> None:
    queue = Queue()
    jobs = [queue.add("a"), queue.add("a", 5.0), queue.add("a"), queue.add("a", 5.0), queue.add_raw("a")]
    assert queue.turns.order(queue.jobs) == [jobs[4], jobs[1], jobs[3], jobs[0], jobs[2]]


def test_a_priority_is_of_no_use_against_other_clients() -> None:
    queue = Queue()
    queue.add("greedy", 1e18)
    other = queue.add("other")
    served = Counter(queue.serve().request.client for _ in range(100))
    assert abs(served["greedy"] - served["other"]) <= 1 and other in queue.jobs


def test_a_newcomer_is_served_next() -> None:
    queue = Queue()
    queue.add("long")
    for _ in range(1000):
        queue.serve(8)
    queue.add("new", visits=1)
    assert queue.serve().request.client == "new"


def test_nobody_gains_by_leaving_and_coming_back() -> None:
    queue = Queue()
    queue.add("long")
    served: Counter[str] = Counter()
    for _ in range(1000):
        visit = queue.add("hasty", visits=1)
        job = queue.serve(4)
        served[job.request.client] += 1
        queue.end(visit)
    assert 450 <= served["long"] <= 550


def test_background_requests_wait_for_all_others_and_share_among_themselves() -> None:
    queue = Queue()
    queue.add("a", 1e18, background=True)
    queue.add("b", background=True)
    move = queue.add("c", -1e18)
    assert {queue.serve().request.client for _ in range(50)} == {"c"}
    queue.end(move)
    assert Counter(queue.serve().request.client for _ in range(50)) == {"a": 25, "b": 25}


def test_pondering_costs_its_client_nothing() -> None:
    queue = Queue()
    ponder = queue.add("a", background=True)
    for _ in range(1000):
        queue.serve()
    queue.end(ponder)
    queue.add("b")
    queue.add("a")
    assert Counter(queue.serve().request.client for _ in range(100)) == {"a": 50, "b": 50}


def test_a_move_beside_an_analysis_has_the_network_for_itself_and_pays_later() -> None:
    queue = Queue()
    queue.add("analysis")
    for _ in range(1000):
        queue.serve()
    move = queue.add("player", visits=50)
    assert {queue.serve().request.client for _ in range(50)} == {"player"}
    queue.end(move)
    for _ in range(10):
        queue.serve()
    queue.add("player", visits=500)
    # It is 40 ahead; another 24 on top of that, then by turns.
    served = [queue.serve().request.client for _ in range(124)]
    assert served[:24] == ["player"] * 24 and abs(Counter(served[24:])["player"] - 50) <= 1


def test_the_shortest_request_goes_first_while_all_are_about_level() -> None:
    queue = Queue()
    for client, visits in (("a", 1000), ("b", 1), ("c", 50)):
        queue.add(client, visits=visits)
    assert [job.request.client for job in queue.turns.order(queue.jobs)] == ["b", "c", "a"]


def test_it_is_shared_while_several_clients_wait_who_do_not_ponder() -> None:
    queue = Queue()
    jobs = [queue.add("a"), queue.add("a"), queue.add("b", background=True)]
    assert not queue.turns.is_shared
    other = queue.add("b")
    assert queue.turns.is_shared
    queue.end(jobs[0])
    assert queue.turns.is_shared
    queue.end(other)
    assert not queue.turns.is_shared
    queue.end(jobs[1])
    assert not queue.turns.is_shared


def test_accounts_of_those_who_left_are_forgotten() -> None:
    queue = Queue()
    queue.add("long")
    for number in range(1000):
        job = queue.add(f"client-{number}")
        queue.serve()
        queue.serve()
        queue.end(job)
    assert queue.turns.clients < 10


@given(
    st.lists(st.integers(1, LARGEST_BATCH), min_size=1, max_size=300),
    st.integers(2, 6),
    st.lists(st.tuples(st.integers(0, 300), st.booleans()), max_size=20),
)
def test_clients_with_work_get_equal_shares_whoever_comes_and_goes(
    batches: list[int], clients: int, visitors: list[tuple[int, bool]]
) -> None:
    queue = Queue()
    for number in range(clients):
        queue.add(f"steady-{number}")
    served: Counter[str] = Counter({f"steady-{number}": 0 for number in range(clients)})
    here: list[Job] = []
    for step, batch in enumerate(batches):
        for when, comes in visitors:
            if when == step and comes:
                here.append(queue.add(f"visitor-{len(here) % 3}"))
            elif when == step and here:
                queue.end(here.pop())
        served[queue.serve(batch).request.client] += batch
    steady = [count for client, count in served.items() if client.startswith("steady")]
    assert max(steady) - min(steady) <= BURST_EVALUATIONS + LARGEST_BATCH


# ---------------------------------------------------------------- one client's searches with a time limit


def counted(queue: Queue, times: int) -> Counter[int]:
    return Counter(queue.serve().request.id for _ in range(times))


def test_without_a_time_limit_who_came_first_is_served_first_whoever_runs() -> None:
    queue = Queue()
    jobs = [queue.begin(queue.add("a")) for _ in range(3)]
    assert counted(queue, 30) == {jobs[0].request.id: 30}
    assert queue.turns.order(queue.jobs) == jobs


def test_as_many_with_a_time_limit_as_there_are_threads_run_and_share() -> None:
    queue = Queue()
    jobs = [queue.add("a", time_s=8.0) for _ in range(4)]
    first = counted(queue, 100)
    assert set(first) == {1, 2} and abs(first[1] - first[2]) <= 2
    assert queue.turns.order(queue.jobs)[2:] == jobs[2:], "the others come after them, for a thread without work"
    queue.end(jobs[0])
    then = counted(queue, 100)
    assert set(then) == {2, 3} and abs(then[2] - then[3]) <= 2, "level from its begin on"
    queue.end(jobs[1])
    queue.end(jobs[2])
    assert counted(queue, 10) == {4: 10}


def test_one_without_a_limit_goes_on_first_until_one_with_a_limit_begins() -> None:
    queue = Queue()
    steady = queue.add("a")
    limited = queue.add("a", time_s=8.0)
    assert counted(queue, 100) == {1: 100}
    queue.begin(limited)
    assert counted(queue, 100) == {1: 50, 2: 50}, "what it had before does not count"
    queue.end(limited)
    assert queue.serve() is steady


def test_who_has_no_use_for_his_turns_gives_none_of_others_away() -> None:
    """One of few visits, whose leaves are all in the network, falls behind; the next one is level with the rest."""
    queue = Queue()
    small, large = (queue.begin(queue.add("a", time_s=8.0)) for _ in range(2))
    for _ in range(100):
        queue.turns.charge(large, 1)
    queue.begin(queue.add("a", time_s=8.0))
    queue.end(small)
    assert counted(queue, 100) == {2: 50, 3: 50}


def test_a_better_one_goes_before_those_that_share_and_they_are_behind() -> None:
    queue = Queue()
    shared = [queue.begin(queue.add("a", time_s=8.0)) for _ in range(2)]
    unlimited = queue.begin(queue.add("a"))
    assert queue.turns.behind(queue.jobs) == set()
    click = queue.add("a", 5.0)
    assert queue.turns.order(queue.jobs)[0] is click
    assert queue.turns.behind(queue.jobs) == set(), "it does not run yet: another's turn, or its tree is in use"
    queue.begin(click)
    assert queue.turns.behind(queue.jobs) == {job.request.id for job in shared}
    assert counted(queue, 10) == {click.request.id: 10}
    click.over = True
    assert queue.turns.behind(queue.jobs) == set()
    queue.end(click)
    assert set(counted(queue, 9).values()) == {3} and unlimited in queue.jobs


def test_one_that_goes_on_lets_those_of_a_lower_priority_by_every_other_time() -> None:
    queue = Queue()
    low = [queue.add("a", -100.0, time_s=8.0) for _ in range(3)]
    queue.begin(low[0])
    pondering = queue.begin(queue.add("a", 5.0))
    assert counted(queue, PRECEDENCE_EVALUATIONS) == {pondering.request.id: PRECEDENCE_EVALUATIONS}
    assert queue.turns.behind(queue.jobs) == set(), "from now on the others' time passes"
    shares = counted(queue, 400)
    assert abs(shares[pondering.request.id] - 200) <= 1 and abs(shares[1] - 100) <= 2 and abs(shares[2] - 100) <= 2
    click = queue.begin(queue.add("a", 5.0 + 1))
    assert counted(queue, 20) == {click.request.id: 20}
    assert queue.turns.behind(queue.jobs) == {1, 2}
    queue.end(click)
    for job in low:
        queue.end(job)
    assert counted(queue, 1000) == {pondering.request.id: 1000}
    late = queue.add("a", -100.0)
    assert abs(counted(queue, 400)[late.request.id] - 200) <= BURST_EVALUATIONS, "nothing is owed for the time alone"


def test_long_ones_of_one_priority_end_in_order_of_arrival() -> None:
    queue = Queue()
    first, second = queue.begin(queue.add("a")), queue.add("a")
    assert counted(queue, 3 * PRECEDENCE_EVALUATIONS) == {first.request.id: 3 * PRECEDENCE_EVALUATIONS}
    below = queue.add("a", -1.0)
    shares = counted(queue, 100)
    assert shares.keys() == {first.request.id, below.request.id} and second.tree is None


def test_nobody_is_behind_another_client_or_a_search_in_the_background() -> None:
    queue = Queue()
    queue.begin(queue.add("a", time_s=8.0))
    queue.begin(queue.add("b", 5.0, time_s=8.0))
    queue.begin(queue.add("a", 5.0, time_s=8.0, background=True))
    assert queue.turns.behind(queue.jobs) == set()


def test_raw_ones_go_before_those_that_share() -> None:
    queue = Queue()
    for _ in range(2):
        queue.begin(queue.add("a", time_s=8.0))
    raw = queue.add_raw("a")
    assert queue.turns.order(queue.jobs)[0] is raw


@given(
    st.lists(st.integers(1, LARGEST_BATCH), min_size=1, max_size=300),
    st.lists(st.tuples(st.integers(0, 300), st.booleans(), st.booleans()), max_size=20),
)
def test_from_its_begin_on_one_with_a_limit_has_as_much_as_each_beside_it(
    batches: list[int], changes: list[tuple[int, bool, bool]]
) -> None:
    queue = Queue()
    steady = [queue.begin(queue.add("a", time_s=8.0)) for _ in range(2)]
    here: dict[int, dict[int, int]] = {}  # of each that came: what each had since
    served: Counter[int] = Counter()
    for step, batch in enumerate(batches):
        for when, comes, is_timed in changes:
            if when == step and comes:
                job = queue.begin(queue.add("a", time_s=8.0 if is_timed else None))
                here[job.request.id] = dict(served)
            elif when == step and len(queue.jobs) > 2:
                here.pop(queue.jobs[2].request.id)
                queue.end(queue.jobs[2])
        served[queue.serve(batch).request.id] += batch
        for number, before in here.items():
            others = [served[job.request.id] - before.get(job.request.id, 0) for job in steady]
            assert all(abs(served[number] - other) <= 2 * LARGEST_BATCH for other in others)
    assert abs(served[1] - served[2]) <= LARGEST_BATCH
