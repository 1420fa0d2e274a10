"""Threads that ask one backend at once, as a search does."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from agent.engine.backends.interface import Array, Backend

THREADS = 4


def asked_at_once(
    backend: Backend, cases: Sequence[tuple[Array, Array]], *, turns: int = 20, tolerance: float = 0.0
) -> list[int]:
    """The numbers of those `cases` (inputs) to which an answer differed from that of a single caller: none, where
    threads do not disturb each other. What is raised in a thread is raised here."""
    expected = [backend.evaluate(*case) for case in cases]

    def work(start: int) -> list[int]:
        asked = [(start + turn) % len(cases) for turn in range(turns)]
        return [case for case in asked if differs(case)]

    def differs(case: int) -> bool:
        pairs = zip(backend.evaluate(*cases[case]), expected[case], strict=True)
        return not all(np.allclose(found, right, rtol=tolerance, atol=tolerance) for found, right in pairs)

    with ThreadPoolExecutor(THREADS) as pool:
        return [case for wrong in pool.map(work, range(THREADS)) for case in wrong]
