"""Whose request a thread of the player works on next: clients in turn, one client's own as KataGo orders them. Pure.

Fair queueing: a client's account counts the evaluations that it was given, and who got least is served first. Within a
burst of that the shortest request goes first: a move beside an analysis has the network for itself, and pays later. So
a query of one visit waits for what is in the network and no longer, and two analyses share by half in the long run.
Background requests (pondering) have accounts of their own, and wait until nobody else can use the network.

One client's own searches go by priority, then arrival: who comes first ends first. Where a time limit runs out for one
of them, that would leave it nothing; so these share equally, as many at once as there are threads (KataGo: the
positions of its analysis threads). A better one goes before them still, and while it runs their clocks stand still. One
that goes on and on (KaTrain's pondering has a click's priority and ten million visits) has that only for a while; then
it has every other turn.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import TypeAlias

from agent.engine.job import Job

# How far ahead of the others a client may be served before it waits for its turn. A move of 50 visits beside 63 busy
# clients took 1.8 s in place of 4.9 s with 128 (simulated: two threads, 4 ms an evaluation); half of that is most moves
# of a small board.
BURST_EVALUATIONS = 64
# So much a search is given before those of a lower priority: as many as KaTrain asks for the position on the board.
PRECEDENCE_EVALUATIONS = 500

_Key: TypeAlias = tuple[bool, str]  # whether in the background; whose


@dataclass
class _Account:
    evaluations: int
    joined: int
    requests: int = 0
    lead: int = 0  # by how much its long searches are ahead of those that they let by


class Turns:
    """For `threads` threads. Not thread-safe: the player calls under its lock."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._accounts: dict[_Key, _Account] = {}
        self._joined = 0
        self._waiting = {False: 0, True: 0}  # clients with requests, in the background and not

    def join(self, job: Job) -> None:
        """A request came. Who had none starts level with the one who got least, or with what he left with if that is
        more: nobody gains by leaving and coming back."""
        key = _key(job)
        if key not in self._accounts or self._accounts[key].requests == 0:
            self._joined += 1
            self._accounts[key] = _Account(self._starting_level(key), self._joined)
            self._waiting[key[0]] += 1
        self._accounts[key].requests += 1

    def leave(self, job: Job) -> None:
        key = _key(job)
        self._accounts[key].requests -= 1
        if self._accounts[key].requests == 0:
            self._waiting[key[0]] -= 1

    def begin(self, job: Job, jobs: Iterable[Job]) -> None:
        """The search, one of `jobs`, begins. It is level with those that share already, so that it has the same as they
        from now on: with the one that was served most, as another may have had no use for all of its turns."""
        peers = [other for other in jobs if other.is_running and other is not job and _rank(other) == _rank(job)]
        if not any(other.is_timed for other in peers):
            for other in peers:
                other.served = 0  # it did not share until now
        job.served = max((other.served for other in peers), default=0)

    def charge(self, job: Job, evaluations: int) -> bool:
        """The job is given so many. Whether it became a long one by that."""
        was_long = _is_long(job)
        job.served += evaluations
        job.given += evaluations
        account = self._accounts[_key(job)]
        account.evaluations += evaluations
        account.lead += evaluations if was_long else -evaluations
        account.lead = min(max(account.lead, 0), BURST_EVALUATIONS)
        return _is_long(job) and not was_long

    def order(self, jobs: Iterable[Job]) -> list[Job]:
        """The jobs as they should be served."""
        own: dict[_Key, list[Job]] = {}
        for job in sorted(jobs, key=lambda job: job.order):
            own.setdefault(_key(job), []).append(job)
        for mine in own.values():
            if any(job.is_timed and job.is_running for job in mine):
                mine[:] = [job for _, peers in groupby(mine, key=_rank) for job in self._by_share(list(peers))]
        for key, mine in own.items():
            if self._accounts[key].lead > 0:
                mine[:] = _let_by(mine)
        least = {background: self._least(background) for background in (False, True)}

        def rank(key: _Key) -> tuple[bool, int, int, int, int]:
            account = self._accounts[key]
            beyond = max(0, account.evaluations - least[key[0]] - BURST_EVALUATIONS)
            return key[0], beyond, own[key][0].visits_asked, account.evaluations, account.joined

        return [job for key in sorted(own, key=rank) for job in own[key]]

    def behind(self, jobs: Iterable[Job]) -> set[int]:
        """The ids of the searches with a time limit that wait for a better one of their client, which runs and need not
        let them by."""
        running = [job for job in jobs if job.is_running]
        best: dict[_Key, float] = {}
        for job in running:
            if not _is_long(job):
                best[_key(job)] = min(job.order[0], best.get(_key(job), job.order[0]))
        return {job.request.id for job in running if job.is_timed and job.order[0] > best.get(_key(job), job.order[0])}

    @property
    def is_shared(self) -> bool:
        """Whether more than one client waits for the network."""
        return self._waiting[False] > 1

    @property
    def clients(self) -> int:
        """How many accounts are kept."""
        return len(self._accounts)

    def _by_share(self, peers: list[Job]) -> list[Job]:
        """One client's requests of one priority, in order of arrival, as they should be served."""
        running = sorted((job for job in peers if job.is_running), key=lambda job: (job.served, job.arrival))
        if not any(job.is_timed for job in running):
            return peers
        waiting = [job for job in peers if job.tree is None and not job.ending]
        more = max(0, self._threads - len(running))
        return [*waiting[:more], *running, *waiting[more:]]

    def _starting_level(self, key: _Key) -> int:
        """Forgets, on the way, the accounts of those who left and would start at this level anyway."""
        peers = {other: account for other, account in self._accounts.items() if other[0] == key[0]}
        is_alone = not any(account.requests for account in peers.values())
        least = self._least(key[0])
        own = peers[key].evaluations if key in peers and not is_alone else least
        for other, account in peers.items():
            if not account.requests and (is_alone or account.evaluations <= least):
                del self._accounts[other]
        return max(own, least)

    def _least(self, background: bool) -> int:
        """What the one among those who wait got who got least."""
        here = (account for key, account in self._accounts.items() if key[0] == background and account.requests)
        return min((account.evaluations for account in here), default=0)


def _key(job: Job) -> _Key:
    return job.is_background, job.request.client


def _is_long(job: Job) -> bool:
    return job.given >= PRECEDENCE_EVALUATIONS


def _let_by(mine: list[Job]) -> list[Job]:
    """One client's requests, with those of a priority for which only long searches run behind the others."""
    levels = [list(peers) for _, peers in groupby(mine, key=_rank)]
    running = [[job for job in peers if job.is_running] for peers in levels]
    is_long = [bool(here) and all(map(_is_long, here)) for here in running]
    return [
        *(job for peers, last in zip(levels, is_long, strict=True) if not last for job in peers),
        *(job for peers, last in zip(levels, is_long, strict=True) if last for job in peers),
    ]


def _rank(job: Job) -> tuple[_Key, float]:
    """Requests with the same one are served in order of arrival, or share."""
    return _key(job), job.order[0]
