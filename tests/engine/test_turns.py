"""Clients in turn: nobody starves, nobody gains by tricks, and one client's own requests keep KataGo's order."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from agent.engine.job import Job
from agent.engine.messages import Position, RawReport, RawRequest, SearchReport, SearchRequest
from agent.engine.rules import Rules
from agent.engine.turns import BURST_EVALUATIONS, Turns

EMPTY = Position(9, 9, Rules(), 7.0)
LARGEST_BATCH = 16


def nobody(report: SearchReport | RawReport) -> None:
    """A sink that is never called."""


class Queue:
    """Turns as one thread of the player uses them: the first job in order gets a batch."""

    def __init__(self) -> None:
        self.turns = Turns()
        self.jobs: list[Job] = []
        self.arrivals = 0

    def add(self, client: str, priority: float = 0.0, *, background: bool = False, visits: int = 10**6) -> Job:
        self.arrivals += 1
        request = SearchRequest(
            id=self.arrivals,
            position=EMPTY,
            player=1,
            max_visits=visits,
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

    def serve(self, evaluations: int = 1) -> Job:
        job = self.turns.order(self.jobs)[0]
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
