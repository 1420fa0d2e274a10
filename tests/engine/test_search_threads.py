"""One tree and many threads at once: nothing may be lost, whatever comes back, is refused or never comes."""

from __future__ import annotations

import random
import threading

import numpy as np
import pytest

from agent.engine.backends.uniform import UniformBackend
from agent.engine.messages import Position, SearchRequest
from agent.engine.points import BLACK
from agent.engine.rules import Rules
from agent.engine.tree import EvalCache, LeafBatch, SearchTree

THREADS = 6
BACKEND = UniformBackend()


@pytest.mark.parametrize(("size", "visits", "batch_size"), [(9, 1500, 1), (9, 1500, 5), (3, 3000, 2)])
def test_stress_leaves_no_virtual_loss_and_counts_every_visit(size: int, visits: int, batch_size: int) -> None:
    tree = SearchTree(BACKEND.network, EvalCache(200), seed=3)
    position = Position(size, size, Rules(), 7.0)
    request = SearchRequest(id=1, position=position, player=BLACK, max_visits=visits)
    tree.begin(request)
    troubles: list[BaseException] = []

    def work(number: int) -> None:
        draw, batch = random.Random(number), LeafBatch(batch_size)
        try:
            while not tree.is_done(visits):
                if tree.select(batch, visits) <= 0:
                    continue
                fate = draw.random()
                outputs = BACKEND.evaluate(batch.spatial, batch.global_)
                if fate < 0.05:
                    tree.abandon(batch)
                elif fate < 0.1:
                    outputs.value[-1] = np.nan
                    assert not tree.deliver(batch, outputs)
                else:
                    assert tree.deliver(batch, outputs)
        except BaseException as error:  # the edge of a thread: the test must see it
            troubles.append(error)

    def watch(over: threading.Event) -> None:
        while not over.is_set():
            report = tree.report(request, final=False, duration_s=0.0)
            assert report.root is None or report.root.visits <= visits

    over = threading.Event()
    watcher = threading.Thread(target=watch, args=(over,))
    workers = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    for thread in [watcher, *workers]:
        thread.start()
    for thread in workers:
        thread.join()
    over.set()
    watcher.join()

    assert troubles == []
    assert (tree.visits, tree.virtual_losses, tree.in_flight) == (visits, 0, 0)
    moves = tree.report(request, final=True, duration_s=0.0).moves
    assert sum(move.edge_visits for move in moves if move.symmetry_of is None) == visits - 1
