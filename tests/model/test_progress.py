"""What a person sees while a network comes."""

from __future__ import annotations

import io

from rich.console import Console
from rich.progress import Progress

from agent.events import ChainStep, Converting, DownloadProgress, SourceFailed, WorkshopProgress
from agent.model.progress import BAR_COLUMNS, BarReporter, TextReporter, bars_on, progress_on

FAILED = SourceFailed("net", "https://example.org/net", "the server answered 404")


def test_lines_where_there_is_no_terminal() -> None:
    lines: list[str] = []
    reporter = TextReporter(lines.append)
    reporter.report(FAILED)
    for done_bytes in range(0, 2_000_001, 1000):
        reporter.report(DownloadProgress("net", done_bytes, 2_000_000))
    reporter.report(DownloadProgress("other", 5, None))
    reporter.report(ChainStep("network", "net instead of better"))
    reporter.report(Converting("net", 1, 2))
    assert lines[0] == "net: https://example.org/net failed: the server answered 404"
    assert lines[1:-1] == [f"net: {tenth / 5:.1f} of 2.0 MB" for tenth in range(1, 11)]
    assert lines[-1] == "network: net instead of better"


def test_a_bar_for_each_file() -> None:
    screen = io.StringIO()
    progress = Progress(console=Console(file=screen, width=120))
    reporter = BarReporter(progress)
    reporter.report(DownloadProgress("net", 5, 10))
    reporter.report(DownloadProgress("net", 10, 10))
    reporter.report(DownloadProgress("net", 1, 30))
    reporter.report(FAILED)
    assert [(task.completed, task.total) for task in progress.tasks] == [(10, 10), (1, 30)]
    assert "404" in screen.getvalue()


def test_the_stream_decides() -> None:
    stream = io.StringIO()
    with progress_on(stream) as reporter:
        reporter.report(FAILED)
    assert stream.getvalue() == "net: https://example.org/net failed: the server answered 404\n"


def test_a_conversion_counts_layers_and_not_bytes() -> None:
    screen = io.StringIO()
    with Progress(*BAR_COLUMNS, console=Console(file=screen, width=120, force_terminal=True)) as progress:
        reporter = BarReporter(progress)
        reporter.report(DownloadProgress("net", 5_000_000, 10_000_000))
        reporter.report(Converting("net", 3, 12))
    shown = screen.getvalue()
    assert "5.0/10.0 MB" in shown
    assert "converting net" in shown and "3/12 layers" in shown


def test_cleared_bars_come_back_only_with_new_progress() -> None:
    progress = Progress(console=Console(file=io.StringIO(), width=120, force_terminal=True))
    reporter = BarReporter(progress)
    reporter.report(DownloadProgress("net", 5, 10))
    reporter.clear()
    assert progress.tasks == [] and not progress.live.is_started
    reporter.report(Converting("net", 1, 2))
    assert [task.description for task in progress.tasks] == ["converting net"] and progress.live.is_started
    reporter.clear()


def test_no_bars_where_there_is_no_terminal() -> None:
    with bars_on(io.StringIO(), lifts_prints=False) as bars:
        assert bars is None


def test_a_match_keeps_one_bar_whose_score_changes() -> None:
    screen = io.StringIO()
    with Progress(*BAR_COLUMNS, console=Console(file=screen, width=120, force_terminal=True)) as progress:
        reporter = BarReporter(progress)
        for done in range(4):
            reporter.report(WorkshopProgress("match", done, 8, f"+{done} =0 -0"))
        assert [task.description for task in progress.tasks] == ["match +3 =0 -0"]
    assert "3/8" in screen.getvalue()
    lines: list[str] = []
    for done in range(41):
        TextReporter(lines.append).report(WorkshopProgress("match", done, 40, "Elo +1"))
    assert lines[-1] == "match: 40 of 40, Elo +1"


def test_a_name_in_brackets_is_a_name() -> None:
    screen = io.StringIO()
    with Progress(*BAR_COLUMNS, console=Console(file=screen, width=120, force_terminal=True)) as progress:
        BarReporter(progress).report(WorkshopProgress("net [v2] [/closed].onnx", 1, 8))
    assert "net [v2] [/closed].onnx" in screen.getvalue()
