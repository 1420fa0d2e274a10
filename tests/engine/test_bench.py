from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from agent.engine.backends.interface import Array, Outputs
from agent.engine.backends.uniform import UniformBackend
from agent.engine.bench import RAW_BATCHES, BenchOptions, Query, load_positions, run_bench
from agent.engine.bench_table import table
from agent.engine.native_katago import NativeKatago
from agent.engine.way import Way
from agent.errors import BackendUnavailable, BenchFailed
from agent.events import Benchmarking, Event, SilentReporter

OPTIONS = BenchOptions(threads=2, batch=4, cores=2, visits=20, raw_s=0.001)


class Recorder:
    def __init__(self) -> None:
        self.steps: list[Benchmarking] = []

    def report(self, event: Event) -> None:
        assert isinstance(event, Benchmarking)
        self.steps.append(event)


class Broken(UniformBackend):
    def evaluate(self, spatial: Array, global_: Array) -> Outputs:
        raise BackendUnavailable("the runtime is gone")


def test_ten_positions_in_the_middle_of_games() -> None:
    queries = load_positions()
    assert len(queries) == 10
    assert all((query.board_x_size, query.board_y_size) == (19, 19) for query in queries)
    assert all(40 <= len(query.moves) <= 140 for query in queries)


def test_the_figures_agree_with_each_other() -> None:
    recorder = Recorder()
    result = run_bench(UniformBackend(), OPTIONS, recorder)
    assert result.positions == 10
    assert result.visits >= 10 * OPTIONS.visits
    assert result.visits == result.evaluations + result.cache_hits + result.terminal
    assert [rate.way for rate in result.raw] == [Way(t, 1, b) for t in (1, 2) for b in RAW_BATCHES]
    assert result.evals_per_s == max(rate.evals_per_s for rate in result.raw if rate.evals_per_s <= result.evals_per_s)
    assert result.search_efficiency == pytest.approx(result.search_evals_per_s / result.evals_per_s)
    assert result.visits_per_s >= result.search_evals_per_s > 0
    assert result.peak_rss_bytes > 10e6
    assert result.native is None
    assert recorder.steps[-1].done == recorder.steps[-1].total == 25


class Session(UniformBackend):
    """Tells when it is called and closed."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.closed = False

    def evaluate(self, spatial: Array, global_: Array) -> Outputs:
        assert not self.closed
        self.calls += 1
        return super().evaluate(spatial, global_)

    def close(self) -> None:
        self.closed = True


def test_one_session_for_each_thread_where_memory_allows() -> None:
    first, others = Session(), list[Session]()

    def open_another() -> Session:
        others.append(Session())
        return others[-1]

    options = replace(OPTIONS, available_bytes=1 << 40)
    result = run_bench(first, options, SilentReporter(), open_another=open_another)
    assert [rate.way for rate in result.raw[10:]] == [Way(2, 2, batch) for batch in RAW_BATCHES]
    assert len(others) == 1 and others[0].calls > 0
    assert others[0].closed and not first.closed
    text = io.StringIO()
    Console(file=text, width=120).print(table(result))
    assert "2 threads, one session, batch 4" in text.getvalue() and "2 threads, 2 sessions, batch 4" in text.getvalue()


def test_no_further_session_without_the_memory() -> None:
    def open_another() -> Session:
        raise AssertionError("there is no memory for it")

    options = replace(OPTIONS, available_bytes=1000)
    result = run_bench(UniformBackend(), options, SilentReporter(), open_another=open_another)
    assert {rate.sessions for rate in result.raw} == {1}


def test_a_session_that_fails_ends_the_bench_and_closes_the_others() -> None:
    class Failing(Session):
        def evaluate(self, spatial: Array, global_: Array) -> Outputs:
            raise BackendUnavailable("the second one is gone")

    other = Failing()
    options = replace(OPTIONS, available_bytes=1 << 40)
    with pytest.raises(BackendUnavailable, match="the second one is gone"):
        run_bench(UniformBackend(), options, SilentReporter(), open_another=lambda: other)
    assert other.closed


def test_a_native_engine_beside_ours(fake_katago: Path, tmp_path: Path) -> None:
    network = tmp_path / "n.bin.gz"
    network.write_text("")
    with NativeKatago(fake_katago, network, threads=3, batch=4) as native:
        result = run_bench(UniformBackend(), OPTIONS, SilentReporter(), opponent=native)
    assert result.native is not None
    assert (result.native.version, result.native.threads) == ("9.99", 3)
    assert result.native.visits == 10 * (OPTIONS.visits + 4)
    assert result.native.ratio == pytest.approx(result.visits_per_s / result.native.visits_per_s)
    assert result.native.peak_rss_bytes > 0
    text = io.StringIO()
    Console(file=text, width=120).print(table(result))
    assert "native katago 9.99, 3 threads" in text.getvalue()


@pytest.mark.parametrize(
    ("manner", "message"), [("refuse", "refused a position: unknown rules"), ("die", "ended: (?s:.*)out of memory")]
)
def test_a_native_engine_that_fails_in_a_search(manner: str, message: str, fake_katago: Path, tmp_path: Path) -> None:
    network = tmp_path / "n.bin.gz"
    network.write_text(manner)
    with NativeKatago(fake_katago, network, threads=1, batch=1) as native, pytest.raises(BenchFailed, match=message):
        native.search(load_positions()[0], 5)


def test_a_native_engine_that_does_not_start(fake_katago: Path, tmp_path: Path) -> None:
    network = tmp_path / "n.bin.gz"
    network.write_text("crash")
    with pytest.raises(BenchFailed, match="cannot parse the model"):
        NativeKatago(fake_katago, network, threads=1, batch=1)
    with pytest.raises(BenchFailed, match="does not start: No such file"):
        NativeKatago(tmp_path / "missing", network, threads=1, batch=1)


def test_a_backend_that_fails_ends_the_bench() -> None:
    with pytest.raises(BackendUnavailable, match="the runtime is gone"):
        run_bench(Broken(), OPTIONS, SilentReporter())


def test_a_query_with_a_bad_vertex() -> None:
    query = Query("chinese", 7.5, 9, 9, (), "B", (("B", "Z99"),))
    with pytest.raises(BenchFailed, match="B Z99 is no move on 9×9"):
        run_bench(UniformBackend(), OPTIONS, SilentReporter(), queries=[query])
