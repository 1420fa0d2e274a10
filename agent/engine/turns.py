"""Whose request a thread of the player works on next: clients in turn, one client's own as KataGo orders them. Pure.

Fair queueing: a client's account counts the evaluations that it was given, and the smallest account is served first. So
a move of one visit waits for what is in the network and no longer, whatever others ask for; two analyses share by half.
Background requests (pondering) have accounts of their own, and wait until nobody else can use the network.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from agent.engine.job import Job

_Key: TypeAlias = tuple[bool, str]  # whether in the background; whose


@dataclass
class _Account:
    evaluations: int
    joined: int
    had: int = 0  # evaluations since then
    requests: int = 0


class Turns:
    """Not thread-safe: the player calls under its lock."""

    def __init__(self) -> None:
        self._accounts: dict[_Key, _Account] = {}
        self._joined = 0

    def join(self, job: Job) -> None:
        """A request came. Who had none starts level with the one who got least, or with what he left with if that is
        more: nobody gains by leaving and coming back."""
        key = _key(job)
        if key not in self._accounts or self._accounts[key].requests == 0:
            self._joined += 1
            self._accounts[key] = _Account(self._starting_level(key), self._joined)
        self._accounts[key].requests += 1

    def leave(self, job: Job) -> None:
        self._accounts[_key(job)].requests -= 1

    def charge(self, job: Job, evaluations: int) -> None:
        account = self._accounts[_key(job)]
        account.evaluations += evaluations
        account.had += evaluations

    def order(self, jobs: Iterable[Job]) -> list[Job]:
        """The jobs as they should be served; of clients with equal accounts, those who have just come first."""

        def rank(job: Job) -> tuple[bool, int, int, int, tuple[float, int]]:
            key = _key(job)
            account = self._accounts[key]
            return key[0], account.evaluations, account.had, account.joined, job.order

        return sorted(jobs, key=rank)

    @property
    def clients(self) -> int:
        """How many accounts are kept."""
        return len(self._accounts)

    def _starting_level(self, key: _Key) -> int:
        """Forgets, on the way, the accounts of those who left and would start at this level anyway."""
        peers = {other: account for other, account in self._accounts.items() if other[0] == key[0]}
        here = [account.evaluations for account in peers.values() if account.requests]
        least = min(here, default=0)
        own = peers[key].evaluations if here and key in peers else least
        for other, account in peers.items():
            if not account.requests and (not here or account.evaluations <= least):
                del self._accounts[other]
        return max(own, least)


def _key(job: Job) -> _Key:
    return job.is_background, job.request.client
